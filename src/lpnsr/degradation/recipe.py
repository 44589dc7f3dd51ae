"""Every range and probability of the degradation, as strict configuration (METHOD: Real-ESRGAN, second order)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, PositiveInt

from lpnsr.system.config import StrictConfig

KernelKind = Literal["iso", "aniso", "generalised_iso", "generalised_aniso", "plateau_iso", "plateau_aniso"]
Kinds = Mapping[KernelKind, float]
Three = tuple[float, float, float]
Ends = TypeVar("Ends", tuple[float, float], tuple[int, int])


def _ordered(ends: Ends) -> Ends:
    if ends[0] > ends[1]:
        raise ValueError(f"a range is (low, high), and {ends[0]} is above {ends[1]}: swap them")
    return ends


def _odd(ends: tuple[int, int]) -> tuple[int, int]:
    if any(end % 2 == 0 for end in ends):
        raise ValueError("kernel sizes are odd: give odd ends")
    return ends


def _some(odds: Kinds | Three) -> Kinds | Three:
    if not sum(odds.values() if isinstance(odds, Mapping) else odds):
        raise ValueError("at least one of the odds has to be above 0")
    return odds


Probability = Annotated[float, Field(ge=0, le=1)]
Odds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Level = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Quality = Annotated[int, Field(ge=1, le=100)]
_Cutoff = Annotated[float, Field(gt=0, le=math.pi + 1e-9)]

Range = Annotated[tuple[_Positive, _Positive], AfterValidator(_ordered)]
Levels = Annotated[tuple[_Level, _Level], AfterValidator(_ordered)]
Sizes = Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_ordered), AfterValidator(_odd)]
Quality = Annotated[tuple[_Quality, _Quality], AfterValidator(_ordered)]
Cutoff = Annotated[tuple[_Cutoff, _Cutoff], AfterValidator(_ordered)]


class BlurRecipe(StrictConfig):
    """A random low-pass filter: Gaussian families with the given odds, or a circular sinc.

    sigma in pixels; sinc cutoffs in radians per pixel, ``sinc_cutoff_small`` for kernels of less than 13 pixels, which
    cannot hold the wider lobes of a lower cutoff (J1 has its first zero at 3.8: the lobe's radius is 3.8 / cutoff).
    """

    probability: Probability = 1.0
    sizes: Sizes = (3, 19)
    kinds: Annotated[Mapping[KernelKind, Odds], AfterValidator(_some)] = {
        "iso": 0.45,
        "aniso": 0.25,
        "generalised_iso": 0.12,
        "generalised_aniso": 0.03,
        "plateau_iso": 0.12,
        "plateau_aniso": 0.03,
    }
    sinc_probability: Probability = 0.1
    sinc_cutoff_small: Cutoff = (math.pi / 3, math.pi)
    sinc_cutoff: Cutoff = (math.pi / 5, math.pi)
    sigma: Range = (0.2, 3.0)
    beta_generalised: Range = (0.5, 4.0)
    beta_plateau: Range = (1.0, 2.0)


class ResizeRecipe(StrictConfig):
    """Odds of going up, down or keeping the size, and the range of the factor."""

    odds: Annotated[tuple[Odds, Odds, Odds], AfterValidator(_some)] = (0.2, 0.7, 0.1)
    factor: Range = (0.15, 1.5)


class NoiseRecipe(StrictConfig):
    """Gaussian noise (sigma in 8-bit levels) with ``gaussian_probability``, else Poisson noise."""

    gaussian_probability: Probability = 0.5
    sigma: Levels = (1.0, 30.0)
    poisson_scale: Levels = (0.05, 3.0)
    gray_probability: Probability = 0.4


class DegradationRecipe(StrictConfig):
    """The whole chain HR -> LR. The defaults are the paper's.

    antialias: whether bilinear and bicubic low-pass before they shrink, as good software does, or take 2 or 4
    neighbours at any factor, as the paper's do; area is antialiased by nature. JPEG qualities are libjpeg's, 1..100.
    """

    scale: PositiveInt = 4
    antialias: bool = False
    blur: BlurRecipe | None = BlurRecipe()
    resize: ResizeRecipe | None = ResizeRecipe()
    noise: NoiseRecipe | None = NoiseRecipe()
    jpeg: Quality | None = (30, 95)
    second_probability: Probability = 0.5
    second_blur: BlurRecipe = BlurRecipe(probability=0.8, sizes=(3, 13), sigma=(0.2, 1.5))
    second_resize: ResizeRecipe = ResizeRecipe(odds=(0.3, 0.4, 0.3), factor=(0.3, 1.2))
    second_noise: NoiseRecipe = NoiseRecipe(sigma=(1.0, 25.0), poisson_scale=(0.05, 2.5))
    final_sinc_probability: Probability = 0.8
    final_sinc_sizes: Sizes = (7, 21)
    final_sinc_cutoff: Cutoff = (math.pi / 3, math.pi)
    final_jpeg: Quality | None = (30, 95)


PRESETS: dict[str, DegradationRecipe] = {
    "real": DegradationRecipe(),
    "light": DegradationRecipe(
        antialias=True,
        blur=BlurRecipe(probability=0.7, sizes=(3, 11), sigma=(0.2, 1.2)),
        resize=ResizeRecipe(odds=(0.1, 0.4, 0.5), factor=(0.6, 1.2)),
        noise=NoiseRecipe(sigma=(0.5, 8.0), poisson_scale=(0.02, 0.6)),
        jpeg=(65, 95),
        second_probability=0.0,
        final_sinc_probability=0.3,
        final_jpeg=(70, 98),
    ),
    "classic": DegradationRecipe(
        antialias=True,
        blur=None,
        resize=None,
        noise=None,
        jpeg=None,
        second_probability=0.0,
        final_sinc_probability=0.0,
        final_jpeg=None,
    ),
}
"""``real``: the paper's. ``light``: a decent camera and a web page. ``classic``: antialiased bicubic alone."""
