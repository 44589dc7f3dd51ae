"""Files as they come from a browser, and the form for the settings."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from lpnsr.apps.jobs.settings import FormatName, JobOptions, clean_name
from lpnsr.apps.web.desk import Desk, Model, Upload
from lpnsr.errors import ConfigError
from lpnsr.imaging import FORMATS

_SIZES = (
    ("times as large", "scale"),
    ("width in pixels", "width"),
    ("height in pixels", "height"),
    ("longest side in pixels", "max_side"),
)
_NOISES = (
    ("predicted (LPNSR)", "predicted"),
    ("its mean: deterministic", "mode"),
    ("random (ResShift)", "gaussian"),
)
_WITH_QUALITY = ("jpeg", "webp", "avif")
_SEEDS = 2**31
_LARGEST_SEED = 2**53 - 1


def photo_input(elem_id: str, height: int) -> gr.Image:
    """A place to drop a photograph; handlers with RAW give what it has to ``uploads``."""
    return gr.Image(
        label="Photograph",
        type="filepath",
        sources=["upload", "clipboard"],
        height=height,
        elem_id=elem_id,
        elem_classes="lp-photo",
        buttons=[],
        placeholder="Drop a photograph here\n- or -\nClick to choose one",
    )


def uploads(payload: Any) -> list[Upload]:
    """The files in what a browser sends for an image or for files, which the guard has seen to be here."""
    found = []
    for each in payload if isinstance(payload, list) else [payload]:
        if isinstance(each, dict) and isinstance(each.get("path"), str):
            path = Path(each["path"])
            found.append(Upload(path, clean_name(str(each.get("orig_name") or path.name))))
    return found


@dataclass(frozen=True)
class Form:
    """The settings of a job. ``inputs`` are to be given to a handler, which gives their values to ``options``."""

    size_kind: gr.Dropdown
    size: gr.Number
    model: gr.Dropdown
    device: gr.Dropdown
    steps: gr.Slider
    fidelity: gr.Slider
    noise: gr.Radio
    seed: gr.Number

    @property
    def inputs(self) -> list[Any]:
        return [*self.reusable, self.device]

    @staticmethod
    def options(values: tuple[Any, ...]) -> tuple[dict[str, Any], str]:
        """(options of a job, device). Raises ConfigError."""
        kind, size, model, steps, fidelity, noise, seed, device = values
        if not isinstance(size, int | float) or size <= 0:
            about = "is empty" if size in (None, "") else f"is {size}"
            raise ConfigError(f"the value for the size of the result {about}; write a number above 0")
        if (seed or 0) > _LARGEST_SEED:
            raise ConfigError(f"the seed is above {_LARGEST_SEED:,}, more than a browser can hold exactly")
        sides = {key: None for _, key in _SIZES} | {kind: size}
        options = {"model": model, "steps": steps, "fidelity": fidelity, "noise": noise, "seed": seed or 0} | sides
        chosen = JobOptions.parse(options, "settings").model_dump(exclude_unset=True, exclude_none=True)
        return chosen, str(device)

    @property
    def reusable(self) -> list[Any]:
        """What ``reused`` gives values for."""
        return [self.size_kind, self.size, self.model, self.steps, self.fidelity, self.noise, self.seed]

    @staticmethod
    def reused(made: dict[str, Any], models: dict[str, Model]) -> list[Any]:
        """Values for ``reusable`` from the settings that a result was made with; what they do not tell stays."""
        kind = next((key for _, key in _SIZES if key in made), None)
        model = made.get("model") if made.get("model") in models else None
        values = [kind, made.get(kind) if kind else None, model]
        values += [made.get(key) for key in ("steps", "fidelity", "noise", "seed")]
        return [gr.skip() if value is None else value for value in values]


def form(desk: Desk, *, sized: bool = True) -> Form:
    """Make the form. sized: whether it asks for the size of the result."""
    names, devices = [*desk.models], desk.fleet.choices
    first = desk.models[names[0]]
    with gr.Row(visible=sized, elem_classes="lp-size"):
        size_kind = gr.Dropdown(
            [*_SIZES], value="scale", label="Size of the result", interactive=True, scale=2, min_width=160
        )
        size = gr.Number(4, label="Value", minimum=0, scale=1, min_width=100)
    with gr.Accordion("More settings", open=False):
        with gr.Row():
            model = gr.Dropdown(names, value=names[0], label="Model", interactive=True, min_width=140)
            device = gr.Dropdown(devices, value=devices[0], label="Device", interactive=True, min_width=140)
        steps = gr.Slider(
            0, first.steps, first.steps, step=1, label="Steps", info="Fewer are faster; 0 is the pre-upsampler alone."
        )
        fidelity = gr.Slider(
            0, 1, first.fidelity, step=0.01, label="Fidelity", info="0: most detail. 1: closest to the photograph."
        )
        noise = gr.Radio([*_NOISES], value="predicted", label="Noise of the steps")
        with gr.Row(equal_height=True):
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, scale=3, min_width=120)
            dice = gr.Button("New seed", size="sm", scale=1, min_width=90)
    size_kind.change(_usual_size, size_kind, size, **QUICK)
    model.change(lambda name: _of_model(desk.models[name]), model, [steps, fidelity], **QUICK)
    dice.click(lambda: secrets.randbelow(_SEEDS), None, seed, **QUICK)
    return Form(size_kind, size, model, device, steps, fidelity, noise, seed)


QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Of handlers that answer at once."""
RAW: dict[str, Any] = {"preprocess": False}
"""Of handlers that get files: Gradio would open images, and say so in its own words where it cannot."""
LONG: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
"""Of handlers that follow a job: the queue of devices is the only one in which visitors wait."""


def formats() -> tuple[gr.Dropdown, gr.Slider]:
    """The format of results and its quality."""
    here = [name for name in get_args(FormatName) if name.upper() in FORMATS]
    kind = gr.Dropdown(here, value="png", label="Format", interactive=True, min_width=110)
    quality = gr.Slider(1, 100, 92, step=1, label="Quality", visible=False, min_width=140)
    kind.change(lambda name: gr.Slider(visible=name in _WITH_QUALITY), kind, quality, **QUICK)
    return kind, quality


def quality_of(kind: str, quality: float) -> int | None:
    return int(quality) if kind in _WITH_QUALITY else None


def _usual_size(kind: str) -> Any:
    if kind == "scale":
        return gr.Number(4, precision=None)
    return gr.Number(1920, precision=0)


def _of_model(model: Model) -> list[Any]:
    return [gr.Slider(maximum=model.steps, value=model.steps), model.fidelity]
