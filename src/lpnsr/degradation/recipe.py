"""Every range and probability of the degradation, as strict configuration (METHOD: Real-ESRGAN, second order)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from lpnsr.config import StrictConfig

Probability = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]
KernelKind = Literal["iso", "aniso", "generalised_iso", "generalised_aniso", "plateau_iso", "plateau_aniso"]


class BlurRecipe(StrictConfig):
    """A random low-pass filter: Gaussian families with the given odds, or a circular sinc."""

    probability: Probability = 1.0
    sizes: tuple[int, int] = (3, 19)
    kinds: Mapping[KernelKind, float] = {
        "iso": 0.45,
        "aniso": 0.25,
        "generalised_iso": 0.12,
        "generalised_aniso": 0.03,
        "plateau_iso": 0.12,
        "plateau_aniso": 0.03,
    }
    sinc_probability: Probability = 0.1
    sigma: Range = (0.2, 3.0)
    beta_generalised: Range = (0.5, 4.0)
    beta_plateau: Range = (1.0, 2.0)


class ResizeRecipe(StrictConfig):
    """Odds of going up, down or keeping the size, and the range of the factor."""

    odds: tuple[float, float, float] = (0.2, 0.7, 0.1)
    factor: Range = (0.15, 1.5)


class NoiseRecipe(StrictConfig):
    """Gaussian noise (sigma in 8-bit levels) with ``gaussian_probability``, else Poisson noise."""

    gaussian_probability: Probability = 0.5
    sigma: Range = (1.0, 30.0)
    poisson_scale: Range = (0.05, 3.0)
    gray_probability: Probability = 0.4


class DegradationRecipe(StrictConfig):
    """The whole chain HR -> LR. The defaults are the paper's."""

    scale: int = 4
    blur: BlurRecipe | None = BlurRecipe()
    resize: ResizeRecipe | None = ResizeRecipe()
    noise: NoiseRecipe | None = NoiseRecipe()
    jpeg: tuple[int, int] | None = (30, 95)
    second_probability: Probability = 0.5
    second_blur: BlurRecipe = BlurRecipe(probability=0.8, sizes=(3, 13), sigma=(0.2, 1.5))
    second_resize: ResizeRecipe = ResizeRecipe(odds=(0.3, 0.4, 0.3), factor=(0.3, 1.2))
    second_noise: NoiseRecipe = NoiseRecipe(sigma=(1.0, 25.0), poisson_scale=(0.05, 2.5))
    final_sinc_probability: Probability = 0.8
    final_jpeg: tuple[int, int] | None = (30, 95)


PRESETS: dict[str, DegradationRecipe] = {
    "real": DegradationRecipe(),
    "light": DegradationRecipe(
        blur=BlurRecipe(probability=0.7, sizes=(3, 11), sigma=(0.2, 1.2)),
        resize=ResizeRecipe(odds=(0.1, 0.4, 0.5), factor=(0.6, 1.2)),
        noise=NoiseRecipe(sigma=(0.5, 8.0), poisson_scale=(0.02, 0.6)),
        jpeg=(65, 95),
        second_probability=0.0,
        final_sinc_probability=0.3,
        final_jpeg=(70, 98),
    ),
    "classic": DegradationRecipe(
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
