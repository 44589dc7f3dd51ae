"""The one description of a request, and the apps that are made from it."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import textwrap

import pytest

from lpnsr.checkpoints import ModelSpec, read_spec, resolve
from lpnsr.errors import ConfigError
from lpnsr.upscaling.options import ModelOptions, Options
from lpnsr.upscaling.upscaler import Upscaler


def output_of(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_options_need_no_torch() -> None:
    heavy = ("torch", "numpy", "PIL")
    code = f"import sys, lpnsr.upscaling.options; print([m for m in {heavy} if m in sys.modules])"
    assert output_of(code).strip() == "[]"


def test_an_option_more_is_in_every_app() -> None:
    pytest.importorskip("gradio")
    pytest.importorskip("fastapi")
    pytest.importorskip("ray")
    made = json.loads(
        output_of("""
            import json
            from types import SimpleNamespace
            from typing import Annotated
            from pydantic import Field
            from typer.testing import CliRunner
            from lpnsr.upscaling import options

            class Options(options.Options):
                grain: Annotated[
                    float,
                    Field(ge=0, le=1, description="Strength of the film grain."),
                    options.Cli(flags=("-g", "--grain")),
                ] = 0.25

            options.Options = Options  # as if the field stood there

            import gradio
            from lpnsr.apps.cli import app
            from lpnsr.upscaling.batch import BatchSettings
            from lpnsr.apps.http.upload import form_schema
            from lpnsr.apps.jobs import JobOptions
            from lpnsr.apps.web.tabs.components import form
            from lpnsr.apps.jobs import Models
            from lpnsr.upscaling.upscaler import Upscaler

            desk = SimpleNamespace(models=Models(["lite"]), fleet=SimpleNamespace(choices=["cpu"]))
            with gradio.Blocks():
                controls = form(desk)
            control = controls.fields["grain"]
            values = [None if each is controls.device else each.value for each in controls.inputs]
            chosen, _ = controls.options((*values[:-1], "cpu"))
            print(json.dumps({
                "help": CliRunner().invoke(app, ["upscale", "--help"], env={"COLUMNS": "200"}).output,
                "http": form_schema(["lite"])["content"]["multipart/form-data"]["schema"]["properties"]["grain"],
                "web": [type(control).__name__, control.minimum, control.maximum, control.value, control.info],
                "sent": chosen["grain"],
                "job": JobOptions(grain=0.5).of_image().grain,
                "batch": BatchSettings().options.grain,
                "python": Upscaler.from_pretrained("lite")._settled({"grain": 0.75}).grain,
            }))
        """)
    )
    assert "--grain" in made["help"]
    assert "Strength of the film grain." in made["help"]
    about = "Strength of the film grain."
    assert made["http"] == {"type": "number", "minimum": 0, "maximum": 1, "default": 0.25, "description": about}
    assert made["web"] == ["Slider", 0, 1, 0.25, about]
    assert [made[name] for name in ("sent", "job", "batch", "python")] == [0.25, 0.5, 0.25, 0.75]


def test_python_has_the_defaults_that_are_described() -> None:
    loading = inspect.signature(Upscaler.from_pretrained).parameters
    assert {name: each.default for name, each in loading.items()} == ModelOptions().model_dump()
    calling = inspect.signature(Upscaler.__call__).parameters
    described = Options().model_dump()
    named = {name: each.default for name, each in calling.items() if name in described}
    assert named == {name: described[name] for name in named}


@pytest.fixture
def spec() -> ModelSpec:
    return read_spec(resolve("lite"))


def test_what_is_left_to_the_model_is_what_it_has(spec: ModelSpec) -> None:
    own = Options().settled(spec)
    assert (own.steps, own.noise, own.fidelity, own.start) == (
        spec.chain.steps,
        "predicted",
        spec.inference.fidelity,
        "upsampler",
    )
    bare = Options().settled(spec, ["autoencoder", "denoiser"])
    assert (bare.noise, bare.start) == ("gaussian", "bicubic")
    chosen = Options(steps=2, noise="gaussian", fidelity=0.5, start="bicubic")
    assert chosen.settled(spec) == chosen


def test_strength_is_a_stop_of_fidelity(spec: ModelSpec) -> None:
    for strength, fidelity in (("detail", 0.0), ("balanced", 0.75), ("faithful", 1.0)):
        settled = Options.parse({"strength": strength}, "test").settled(spec)
        assert settled == Options(fidelity=fidelity).settled(spec)
        assert Options.parse(settled.model_dump(), "test").settled(spec) == settled
    with pytest.raises(ConfigError, match="choose one of strength and fidelity"):
        Options.parse({"strength": "detail", "fidelity": 0.0}, "test")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 5}, "steps = 5: allowed are 0"),
        ({"noise": "mode"}, "noise = mode: lite has no noise predictor"),
        ({"start": "upsampler"}, "start = upsampler: lite has no pre-upsampler"),
    ],
)
def test_what_the_model_does_not_have_is_refused(spec: ModelSpec, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Options.parse(options, "test").settled(spec, ["autoencoder", "denoiser"])


def test_sizes_exclude_each_other() -> None:
    for sizes in ({"scale": 2, "width": 9}, {"width": 9, "max_side": 9}):
        with pytest.raises(ConfigError, match="choose one of scale, width and/or height, max_side"):
            Options.parse(sizes, "test")
    assert Options(width=5, height=50).output_size((10, 12)) == (50, 5)
    assert Options().output_size((10, 12)) == (40, 48)
