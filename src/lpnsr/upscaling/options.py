"""The one description of a request: what to do with an image, with which model, into which file.

The options of the command line, the HTTP form, the controls of the web page, the settings of jobs and batches are made
from these fields: name, type, range, default and help text stand here alone. Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lpnsr.errors import ConfigError
from lpnsr.system.config import StrictConfig

if TYPE_CHECKING:
    from lpnsr.checkpoints import ModelSpec

NoiseKind = Literal["predicted", "mode", "gaussian"]
StartKind = Literal["upsampler", "bicubic"]
Strength = Literal["detail", "balanced", "faithful"]
FIDELITIES: dict[Strength, float] = {"detail": 0.0, "balanced": 0.75, "faithful": 1.0}
ColourFix = Literal["wavelet", "adain", "none"]
SMALLEST_TILE = 16
DEFAULT_MODEL = "base"


@dataclass(frozen=True)
class Cli:
    """The place of an option in the command's help, and its flags where they are more than its name."""

    panel: str = "Model"
    flags: tuple[str, ...] = ()


SIZE, MODEL, MACHINE = Cli("Size"), Cli("Model"), Cli("Machine")
Quality = Annotated[
    int | None,
    Field(ge=1, le=100, description="Quality of JPEG, WebP and AVIF. Default: 95, 92 and 85."),
    Cli("Files"),
]


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class Options(StrictConfig):
    """Options of one image; see ``Upscaler.__call__``."""

    scale: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Scale factor. Default: the model's, which is 4 for base, lite and official.",
        ),
        Cli("Size", ("-s", "--scale", "--outscale")),
    ] = None
    width: Annotated[int | None, Field(ge=1, description="Width of the result in pixels."), SIZE] = None
    height: Annotated[
        int | None,
        Field(ge=1, description="Height of the result in pixels. Width or height alone keeps the proportions."),
        SIZE,
    ] = None
    max_side: Annotated[int | None, Field(ge=1, description="Longer side of the result in pixels."), SIZE] = None
    steps: Annotated[
        int | None,
        Field(ge=0, description="Number of chain steps. Fewer are faster; 0 is the pre-upsampler alone."),
        MODEL,
    ] = None
    noise: Annotated[
        NoiseKind | None,
        Field(
            description="Noise between the steps: predicted (LPNSR), mode (its mean, deterministic) or gaussian "
            "(ResShift). Default: predicted, or gaussian for a model without a noise predictor."
        ),
        MODEL,
    ] = None
    strength: Annotated[
        Strength | None,
        Field(
            description="Strength of the restoration: detail (most detail, some of it invented), balanced, or faithful "
            "(closest to the input). The same as fidelity 0, 0.75 and 1."
        ),
        MODEL,
    ] = None
    fidelity: Annotated[
        float | None,
        Field(
            ge=0, le=1, description="Fidelity, from 0 (most detail) to 1 (closest to the input). Default: the model's."
        ),
        MODEL,
    ] = None
    start: Annotated[
        StartKind | None,
        Field(description="Start of the chain. Default: upsampler, or bicubic for a model without a pre-upsampler."),
        MODEL,
    ] = None
    seed: Annotated[
        int, Field(ge=0, lt=2**63, description="Seed of the noise. The same seed gives the same result."), MODEL
    ] = 0
    tile: Annotated[
        Annotated[int, Field(ge=SMALLEST_TILE)] | Literal[0, "auto"],
        BeforeValidator(_number),
        Field(description="Side of a tile in input pixels; 0 for no tiles, auto for the model's default."),
        Cli("Machine", ("-t", "--tile")),
    ] = "auto"
    colour_fix: Annotated[
        ColourFix,
        Field(description="Method that restores the colours of the input."),
        Cli("Model", ("--colour-fix", "--color-fix")),
    ] = "wavelet"

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        kinds = (self.scale, self.width or self.height, self.max_side)
        if sum(kind is not None for kind in kinds) > 1:
            raise ValueError("choose one of scale, width and/or height, max_side")
        return self

    @model_validator(mode="after")
    def _one_fidelity(self) -> Self:
        if self.strength is not None and self.fidelity is not None:
            raise ValueError("choose one of strength and fidelity")
        return self

    def output_size(self, size: Sequence[int], factor: int = 4) -> tuple[int, int]:
        """(height, width) of the result for an input of ``size``; enlarged by ``factor`` if no size was chosen."""
        from lpnsr.imaging import output_size

        sides = {"width": self.width, "height": self.height, "max_side": self.max_side}
        scale = float(factor) if self.scale is None and not any(sides.values()) else self.scale
        return output_size((size[0], size[1]), scale=scale, **sides)

    def settled(self, spec: ModelSpec, parts: Collection[str] | None = None) -> Self:
        """These options with the model's own choices for what was left to it: steps, noise, fidelity, start.

        The strength becomes its fidelity. parts: of the model, by default those of ``spec``. Raises ConfigError for
        what the model does not have.
        """
        there = spec.parts if parts is None else parts
        if not spec.steps:
            return self._settled_alone(spec.name)
        if (self.steps or 0) > spec.steps:
            allowed = f"allowed are 0 (the pre-upsampler alone) to {spec.steps}"
            raise ConfigError(f"steps = {self.steps}: {allowed}")
        predicts, starts = "noise_predictor" in there, "upsampler" in there
        if self.noise in ("predicted", "mode") and not predicts:
            raise ConfigError(f"noise = {self.noise}: {spec.name} has no noise predictor; choose gaussian")
        if self.start == "upsampler" and not starts:
            raise ConfigError(f"start = upsampler: {spec.name} has no pre-upsampler; choose bicubic")
        own: dict[str, Any] = {
            "steps": spec.steps,
            "noise": "predicted" if predicts else "gaussian",
            "fidelity": FIDELITIES[self.strength] if self.strength else spec.inference.fidelity,
            "start": "upsampler" if starts else "bicubic",
        }
        left = {name: value for name, value in own.items() if getattr(self, name) is None}
        return self.model_copy(update=left | {"strength": None})

    def _settled_alone(self, name: str) -> Self:
        """The same for a model without a chain. Raises ConfigError for options of chains."""
        own = dict.fromkeys(OF_CHAINS) | {"steps": 0, "start": "upsampler", "seed": 0}
        given = {key: getattr(self, key) for key in OF_CHAINS}
        wrong = [f"{key} = {value}" for key, value in given.items() if value not in (None, own[key])]
        if wrong:
            raise ConfigError(f"{', '.join(wrong)}: {name} is a network without a chain, and has no such option")
        return self.model_copy(update=own)


OF_CHAINS = ("steps", "noise", "strength", "fidelity", "start", "seed")
"""Options that a model without a chain does not have."""


class ModelOptions(StrictConfig):
    """The model and the machine that it runs on: the arguments of ``Upscaler.from_pretrained``."""

    model: Annotated[
        str,
        Field(
            description="Model: base, lite, official, or another name that lpnsr models list shows; a folder, a hub "
            "id, or the file of a network that spandrel reads (.pth, .safetensors)."
        ),
        Cli("Model", ("-n", "--model", "--model-name")),
    ] = DEFAULT_MODEL
    start: Annotated[
        str | None,
        Field(
            description="Start of the chain: upsampler, bicubic, or the file of a network that spandrel reads. "
            "Default: upsampler, or bicubic for a model without a pre-upsampler."
        ),
        MODEL,
    ] = None
    revision: Annotated[str | None, Field(description="Revision of a hub id."), MODEL] = None
    cache_dir: Annotated[
        Path | None,
        Field(description="Folder of downloaded models. Default: $LPNSR_CACHE, else ~/.cache/lpnsr."),
        MODEL,
    ] = None
    device: Annotated[
        str,
        Field(
            description="Device: auto, cpu, cuda, cuda:1, xpu or mps. With the runtime ncnn: auto, cpu, vulkan or "
            "vulkan:1; with onnx: auto, cpu, cuda, directml or coreml; with openvino: auto, cpu, gpu or npu."
        ),
        MACHINE,
    ] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Field(
            description="Precision of the networks. auto is bfloat16 on CUDA GPUs and CPUs that have it (AVX512-BF16, "
            "AMX), else float32."
        ),
        MACHINE,
    ] = "auto"
    runtime: Annotated[
        Literal["auto", "torch", "onnx", "openvino", "ncnn"],
        Field(
            description="Runtime of the networks: torch, onnx, openvino, or ncnn (the pre-upsampler alone). auto is "
            "what the model was exported for; else torch, or ncnn if it is installed and torch would compute in "
            "float32 on the CPU."
        ),
        MACHINE,
    ] = "auto"
    memory: Annotated[
        int | str | None,
        Field(description="Memory limit of the process, such as 2G. Default: the free memory."),
        MACHINE,
    ] = None


class FileOptions(StrictConfig):
    """Options of the files that are read and written."""

    quality: Quality = None
    max_pixels: Annotated[
        int | None, Field(ge=1, description="Maximum pixels of an input. Default: 400 million."), MACHINE
    ] = None
