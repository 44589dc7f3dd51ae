"""Files as they come from a browser, and the form for the settings."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import gradio as gr
from pydantic.fields import FieldInfo

from lpnsr.apps.jobs.settings import FormatName, JobOptions, clean_name
from lpnsr.apps.web.desk import Desk, Upload
from lpnsr.checkpoints import ModelSpec
from lpnsr.errors import ConfigError
from lpnsr.imaging import FORMATS

_SIZES = (
    ("times as large", "scale"),
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

    fields: the components of the other options, by their names.
    """

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
        options = {name: value for name, value in zip(self.fields, others, strict=True) if value is not None}
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

    def reused(self, made: dict[str, Any], models: dict[str, ModelSpec]) -> list[Any]:
        """Return values for ``reusable`` from the settings of a result; components without one stay as they are."""
        kind = next((key for _, key in _SIZES if key in made), None)
        model = next((name for name, spec in models.items() if spec.name == made.get("model")), None)
        values = [kind, made.get(kind) if kind else None, model, *map(made.get, self.fields)]
        return [gr.skip() if value is None else value for value in values]


def form(desk: Desk, *, sized: bool = True) -> Form:
    """Make the form. sized: with the size of the result."""
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
        fields = {}
        for name, field in JobOptions.model_fields.items():
            if name not in _APART:
                with gr.Row(equal_height=True):
                    fields[name] = _component(name, field, first)
                    if name == "seed":
                        dice = gr.Button("New seed", size="sm", scale=1, min_width=90)
    size_kind.change(_usual_size, size_kind, size, **QUICK)
    of_model = [name for name, field in JobOptions.model_fields.items() if name in fields and field.default is None]
    model.change(
        lambda name: [_of_model(each, desk.models[name]) for each in of_model],
        model,
        [fields[name] for name in of_model],
        **QUICK,
    )
    dice.click(lambda: secrets.randbelow(_SEEDS), None, fields["seed"], **QUICK)
    return Form(size_kind, size, model, device, fields)


def _component(name: str, field: FieldInfo, spec: ModelSpec) -> Any:
    """Make the control of an option."""
    schema = _schema(name)
    value = _default(name, spec)
    about: dict[str, Any] = {
        "label": name.replace("_", " ").capitalize(),
        "info": field.description,
        "interactive": True,
        "scale": 3,
    }
    low, high = schema.get("minimum"), schema.get("maximum", spec.chain.steps if name == "steps" else None)
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
    return getattr(JobOptions().settled(spec), name)


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


def _usual_size(kind: str) -> Any:
    if kind == "scale":
        return gr.Number(4, precision=None)
    return gr.Number(1920, precision=0)


def _of_model(name: str, spec: ModelSpec) -> Any:
    """Return the new state of a control whose default is the model's, for another model."""
    value = _default(name, spec)
    return gr.Slider(maximum=value, value=value) if name == "steps" else value
