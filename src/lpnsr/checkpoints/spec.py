"""Contents of ``model.json``: the parts of a model, its chain, its licence, its scores and its hashes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from lpnsr.errors import CheckpointError, ConfigError
from lpnsr.system.config import StrictConfig

FORMAT = 1
"""Version of the folder layout that this package writes; it reads this one and no newer."""

PartName = Literal["autoencoder", "upsampler", "denoiser", "noise_predictor"]
PARTS: tuple[PartName, ...] = get_args(PartName)

Say = Callable[[str], None]
"""Is given a sentence for the user now and then."""


def silent(text: str) -> None:
    """Say nothing: a ``Say`` that keeps quiet."""


def _one_segment(value: str) -> str:
    # A model folder may come from a stranger: a part can never point outside of it.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", value):
        raise ValueError("has to be the plain name of a folder inside the model folder")
    return value


PartFolder = Annotated[str, AfterValidator(_one_segment)]


class ChainSettings(StrictConfig):
    """The schedule that the networks were trained with (symbols of the schedule's equation)."""

    steps: int = Field(default=4, ge=1)
    kappa: float = Field(default=2.0, gt=0)
    min_noise_level: float = Field(default=0.2, gt=0)
    etas_end: float = Field(default=0.99, gt=0, le=1)
    power: float = Field(default=0.3, gt=0)


class InferenceSettings(StrictConfig):
    """Default settings of a model, which the caller may override.

    ``fidelity``: see Upscaler. ``tile_overlap``: LR pixels that neighbouring tiles share, enough that no seam shows.
    ``tile_multiple``: tiles begin at multiples of it, so that the networks' windows fall on the same pixels.
    ``pixel_bytes``: most bytes of float32 tensors that are alive at once, per LR pixel of a tile; counted at the first
    use where it is None.
    """

    fidelity: float = Field(default=0.0, ge=0, le=1)
    tile_overlap: int = Field(default=32, ge=0)
    tile_multiple: int = Field(default=64, ge=1)
    pixel_bytes: int | None = Field(default=None, ge=1)


class Score(StrictConfig):
    """One measured number with the protocol that it belongs to."""

    metric: str
    value: float
    data: str
    protocol: str


class SourceFile(StrictConfig):
    """A released file that a part was converted from."""

    part: PartName
    file: str
    sha256: str
    licence: str


class ModelSpec(StrictConfig):
    """Content of ``model.json``.

    ``parts`` maps a part to its folder; an absent upsampler means a bicubic start, an absent noise predictor
    means Gaussian noise. A model of an upsampler alone has no chain. ``scale`` is the sides of a result over those of
    its input, and ``sha256`` maps each part's files (``denoiser/model.safetensors``) to their hash; ``save_folder``
    fills both.
    """

    format: int = Field(default=FORMAT, ge=1)
    name: str
    licence: str
    description: str = ""
    training: str = ""
    parts: dict[PartName, PartFolder] = Field(min_length=1)
    scale: int = Field(default=4, ge=1)
    chain: ChainSettings = ChainSettings()
    inference: InferenceSettings = InferenceSettings()
    scores: tuple[Score, ...] = ()
    sources: tuple[SourceFile, ...] = ()
    sha256: dict[str, str] = Field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Number of steps of its chain; 0 for an upsampler alone."""
        return self.chain.steps if "denoiser" in self.parts else 0

    @property
    def trained_with_lpips(self) -> bool:
        """Whether its denoiser was trained by this package, with LPIPS on SqueezeNet as a loss, and not converted."""
        return self.steps > 0 and all(source.part != "denoiser" for source in self.sources)


def read_json(path: Path) -> dict[str, object]:
    """Return the object in a JSON file. Raises CheckpointError if it is missing, unreadable or no object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: {path.parent} is no complete model folder") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, Mapping):
        raise CheckpointError(f"{path} holds a {type(value).__name__}; a JSON object is needed")
    return dict(value)


def read_spec(folder: Path) -> ModelSpec:
    """Return the specification of a model folder. Raises CheckpointError, also for a newer format."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder; a model is a folder with a model.json")
    path = folder / "model.json"
    values = read_json(path)
    version = values.get("format")
    # Before anything else: a newer format has keys that would only be called unknown.
    if isinstance(version, int) and version > FORMAT:
        raise CheckpointError(
            f"{path} has format {version}; this lpnsr reads up to format {FORMAT}. Upgrade with: pip install -U lpnsr"
        )
    if "format" not in values:
        raise CheckpointError(f"{path}: key 'format' is missing; it has to be {FORMAT}")
    try:
        return ModelSpec.parse(values, str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
