"""What a caller can choose for one image, and what is told while it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from lpnsr import imaging
from lpnsr.diffusion import StepState
from lpnsr.system.config import StrictConfig
from lpnsr.upscaling.memory import SMALLEST_TILE
from lpnsr.upscaling.restorer import NoiseKind, StartKind


class Options(StrictConfig):
    """What a caller can choose for one image; see ``Upscaler.__call__``."""

    scale: Annotated[float, Field(gt=0)] | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    height: Annotated[int, Field(ge=1)] | None = None
    max_side: Annotated[int, Field(ge=1)] | None = None
    steps: Annotated[int, Field(ge=0)] | None = None
    noise: NoiseKind = "predicted"
    fidelity: Annotated[float, Field(ge=0, le=1)] | None = None
    start: StartKind = "upsampler"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    tile: Annotated[int, Field(ge=SMALLEST_TILE)] | Literal[0, "auto"] = "auto"
    colour_fix: Literal["wavelet", "adain", "none"] = "wavelet"

    def output_size(self, size: Sequence[int], factor: int = 4) -> tuple[int, int]:
        """(height, width) of the result for an input of ``size``; ``factor`` unless something else was chosen."""
        sides = {"width": self.width, "height": self.height, "max_side": self.max_side}
        scale = float(factor) if self.scale is None and not any(sides.values()) else self.scale
        return imaging.output_size((size[0], size[1]), scale=scale, **sides)


@dataclass(frozen=True)
class Progress:
    """State handed to a callback: ``done`` of ``total`` tiles, and the chain's step when one has just ended."""

    done: int
    total: int
    step: StepState | None = None


Callback = Callable[[Progress], None]


def fidelity_controls(fidelity: float) -> tuple[float, float, float]:
    """(noise temperature, share of the conditional mean, share of bicubic) of a fidelity in [0, 1].

    0..0.5 cools the predicted noise from a sample to its mode; 0.5..1 blends the result into the chain's first
    prediction of x_0, the closest to the conditional mean, and up to one half into the bicubic upsampling.
    """
    upper = max(0.0, 2 * fidelity - 1)
    return max(0.0, 1 - 2 * fidelity), upper, upper / 2
