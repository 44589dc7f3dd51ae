"""Files as they come from a browser, and the form for the settings."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import gradio as gr
from pydantic.fields import FieldInfo

from lpnsr.apps.jobs import Models
from lpnsr.apps.jobs.settings import FormatName, JobOptions, clean_name
from lpnsr.apps.web.desk import Desk, Upload
from lpnsr.checkpoints import ModelSpec
from lpnsr.errors import ConfigError, LpnsrError
from lpnsr.imaging import FORMATS
from lpnsr.upscaling.options import FIDELITIES, OF_CHAINS

_SIZES = (
    ("scale factor", "scale"),
    ("width in pixels", "width"),
    ("height in pixels", "height"),
    ("longest side in pixels", "max_side"),
)
_APART = {"scale", "width", "height", "max_side", "model", "tile", "format", "quality"}  # by components of their own
_WITH_QUALITY = ("jpeg", "webp", "avif")
_SEEDS = 2**31
_LARGEST_SEED = 2**53 - 1


def photo_input(elem_id: str, height: int) -> gr.Image:
    """Make a component to drop a photograph on; ``uploads`` reads its value in handlers with RAW."""
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
    """Return the files in the value of an image or file component; the guard has checked their paths."""
    found = []
    for each in payload if isinstance(payload, list) else [payload]:
        if isinstance(each, dict) and isinstance(each.get("path"), str):
            path = Path(each["path"])
            found.append(Upload(path, clean_name(str(each.get("orig_name") or path.name))))
    return found


@dataclass(frozen=True)
class Form:
    """The settings of a job. ``inputs`` are to be given to a handler, which gives their values to ``options``.

    models: to choose from. fields: the components of the other options, by their names.
    """

    models: Models
    size_kind: gr.Dropdown
    size: gr.Number
    model: gr.Dropdown
    device: gr.Dropdown
    fields: dict[str, Any]

    @property
    def inputs(self) -> list[Any]:
        return [*self.reusable, self.device]

    def options(self, values: tuple[Any, ...]) -> tuple[dict[str, Any], str]:
        """(options of a job, device). Raises ConfigError."""
        kind, size, model, *others, device = values
        hidden = ("strength",) if self.models.spec(str(model)).steps else OF_CHAINS  # which moves the fidelity
        given = zip(self.fields, others, strict=True)
        options = {name: value for name, value in given if value is not None and name not in hidden}
        if not isinstance(size, int | float) or size <= 0:
            about = "is empty" if size in (None, "") else f"is {size}"
            raise ConfigError(f"the value for the size of the result {about}; write a number above 0")
        if options.get("seed", 0) > _LARGEST_SEED:
            raise ConfigError(f"the seed is above {_LARGEST_SEED:,}, more than a browser can hold exactly")
        chosen = JobOptions.parse({"model": model, kind: size, **options}, "settings")
        return chosen.model_dump(exclude_unset=True, exclude_none=True), str(device)

    @property
    def reusable(self) -> list[Any]:
        """The components that ``reused`` returns values for."""
        return [self.size_kind, self.size, self.model, *self.fields.values()]

    def reused(self, made: dict[str, Any]) -> list[Any]:
        """Return values for ``reusable`` from the settings of a result; components without one stay as they are."""
        kind = next((key for _, key in _SIZES if key in made), None)
        models = self.models
        named = {name: name for name in models.names} | {spec.name: name for name, spec in models.specs.items()}
        model = named.get(str(made.get("model")))
        values = [kind, made.get(kind) if kind else None, model, *map(made.get, self.fields)]
        changes = [gr.skip() if value is None else gr.update(value=value) for value in values]
        if model is not None:
            for name, change in zip(self.fields, changes[3:], strict=True):
                if name in OF_CHAINS:
                    change["visible"] = bool(models.spec(model).steps)
        return changes


def form(desk: Desk, *, sized: bool = True) -> Form:
    """Make the form. sized: with the size of the result."""
    names, devices = [*desk.models.names], desk.fleet.choices
    first = desk.models.spec(names[0])
    with gr.Row(visible=sized, elem_classes="lp-size"):
        size_kind = gr.Dropdown(
            [*_SIZES], value="scale", label="Size of the result", interactive=True, scale=2, min_width=160
        )
        size = gr.Number(first.scale, label="Value", minimum=0, scale=1, min_width=100)
    model = gr.Dropdown(names, value=names[0], label="Model", interactive=True, visible=len(names) > 1)
    fields: dict[str, Any] = {"strength": _component("strength", JobOptions.model_fields["strength"], first)}
    with gr.Accordion("More settings", open=False):
        device = gr.Dropdown(devices, value=devices[0], label="Device", interactive=True, visible=len(devices) > 1)
        for name, field in JobOptions.model_fields.items():
            if name not in _APART and name not in fields:
                with gr.Row(equal_height=True):
                    fields[name] = _component(name, field, first)
                    if name == "seed":
                        dice = gr.Button("New seed", size="sm", scale=1, min_width=90, visible=bool(first.steps))

    def chosen(name: str, kind: str) -> list[Any]:
        try:
            spec = desk.models.spec(name)
        except LpnsrError:  # which is told when it is to upscale
            return [gr.skip()] * (2 + len(OF_CHAINS))
        controls = [_of_model(each, spec) for each in OF_CHAINS]
        return [_usual_size(kind, spec), gr.update(visible=bool(spec.steps)), *controls]

    specs = desk.models.specs
    size_kind.change(lambda name, kind: _usual_size(kind, specs.get(name, first)), [model, size_kind], size, **QUICK)
    model.input(chosen, [model, size_kind], [size, dice, *map(fields.__getitem__, OF_CHAINS)], **QUICK)
    fields["strength"].input(lambda name: FIDELITIES[name], fields["strength"], fields["fidelity"], **QUICK)
    fields["fidelity"].change(_stop, fields["fidelity"], fields["strength"], **QUICK)
    dice.click(lambda: secrets.randbelow(_SEEDS), None, fields["seed"], **QUICK)
    return Form(desk.models, size_kind, size, model, device, fields)


def _component(name: str, field: FieldInfo, spec: ModelSpec) -> Any:
    """Make the control of an option."""
    schema = _schema(name)
    value = _default(name, spec)
    about: dict[str, Any] = {
        "label": name.replace("_", " ").capitalize(),
        "info": field.description,
        "interactive": True,
        "scale": 3,
        "visible": bool(spec.steps) or name not in OF_CHAINS,
    }
    low, high = schema.get("minimum"), schema.get("maximum", max(1, spec.steps) if name == "steps" else None)
    kind = schema.get("type")
    if "enum" in schema:
        return gr.Radio(schema["enum"], value=value, **about)
    if kind == "boolean":
        return gr.Checkbox(value, **about)
    if low is not None and high is not None:
        return gr.Slider(low, high, value, step=1 if kind == "integer" else 0.01, **about)
    if kind in ("integer", "number"):
        return gr.Number(value, precision=0 if kind == "integer" else None, minimum=low, maximum=high, **about)
    return gr.Textbox(value, **about)


def _schema(name: str) -> dict[str, Any]:
    """Return the JSON schema of an option's values, without null."""
    schema: dict[str, Any] = JobOptions.model_json_schema()["properties"][name]
    return schema | next((each for each in schema.get("anyOf", ()) if each != {"type": "null"}), {})


def _default(name: str, spec: ModelSpec) -> Any:
    own = JobOptions().settled(spec)
    return _stop(own.fidelity) if name == "strength" else getattr(own, name)


def _stop(fidelity: float | None) -> str | None:
    return next((name for name, value in FIDELITIES.items() if value == fidelity), None)


QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Settings of handlers that answer at once."""
RAW: dict[str, Any] = {"preprocess": False}
"""Settings of handlers that receive files: Gradio is not to open them, since its errors say less."""
LONG: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
"""Settings of handlers that follow a job: visitors wait in the queue of a device, not in Gradio's."""


def formats() -> tuple[gr.Dropdown, gr.Slider]:
    """Make the controls of the format of results and its quality."""
    here = [name for name in get_args(FormatName) if name.upper() in FORMATS]
    kind = gr.Dropdown(here, value="png", label="Format", interactive=True, min_width=110)
    quality = gr.Slider(1, 100, 92, step=1, label="Quality", visible=False, min_width=140)
    kind.change(lambda name: gr.Slider(visible=name in _WITH_QUALITY), kind, quality, **QUICK)
    return kind, quality


def quality_of(kind: str, quality: float) -> int | None:
    return int(quality) if kind in _WITH_QUALITY else None


def _usual_size(kind: str, spec: ModelSpec) -> Any:
    if kind == "scale":
        return gr.Number(spec.scale, precision=None)
    return gr.Number(1920, precision=0)


def _of_model(name: str, spec: ModelSpec) -> Any:
    """Return the new state of a control for another model: hidden where it has no chain, else with its default."""
    if not spec.steps:
        return gr.update(visible=False)
    value = _default(name, spec)
    return gr.update(value=value, visible=True, **({"maximum": value} if name == "steps" else {}))
