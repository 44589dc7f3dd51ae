"""``Plan``: every parameter of one sample's degradation, drawn from its seed alone before any pixel is touched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

from lpnsr.degradation import kernels
from lpnsr.degradation.recipe import BlurRecipe, DegradationRecipe, KernelKind, NoiseRecipe, ResizeRecipe

DRAWING_ORDER = 2
"""Version of the drawing: it rises whenever the same seed and recipe begin to give another LR image."""

Mode = Literal["area", "bilinear", "bicubic"]
MODES: tuple[Mode, ...] = ("area", "bilinear", "bicubic")
_SMALL = 13  # pixels of a kernel; below, a sinc has the cutoffs for small ones


@dataclass(frozen=True)
class Kernel:
    """A blur kernel by its parameters; ``cutoff`` is a sinc's, the others are the Gaussian families'."""

    kind: KernelKind | Literal["sinc"]
    size: int
    sigma_x: float = 0.0
    sigma_y: float = 0.0
    theta: float = 0.0
    beta: float = 1.0
    cutoff: float = 0.0

    def taps(self) -> kernels.Taps:
        """Return (size, size) float32 with the sum 1."""
        if self.kind == "sinc":
            return kernels.sinc(self.size, self.cutoff)
        family = kernels.plateau if self.kind.startswith("plateau") else kernels.gaussian
        return family(self.size, self.sigma_x, self.sigma_y, self.theta, self.beta)


@dataclass(frozen=True)
class Resize:
    """A resize to ``size`` = (height, width)."""

    size: tuple[int, int]
    mode: Mode
    antialias: bool


@dataclass(frozen=True)
class Noise:
    """Gaussian noise of the standard deviation ``strength`` in [0, 1] units, or Poisson noise times ``strength``.

    gray: one field for all channels.
    """

    gaussian: bool
    strength: float
    gray: bool


@dataclass(frozen=True)
class DegradationStage:
    """Blur, resize, noise, JPEG, in this order; None leaves a step out."""

    blur: Kernel | None
    resize: Resize | None
    noise: Noise | None
    quality: int | None


@dataclass(frozen=True)
class Plan:
    """The stages, then the last resize with its sinc filter, and JPEG before (``jpeg_first``) or after the two."""

    seed: int
    stages: tuple[DegradationStage, ...]
    resize: Resize
    sinc: Kernel | None
    quality: int | None
    jpeg_first: bool


def draw(recipe: DegradationRecipe, seed: int, size: tuple[int, int]) -> Plan:
    """Draw the plan of the sample with this seed and HR ``size`` (height, width), each a multiple of the scale."""
    rng = np.random.default_rng(seed)
    small = (size[0] // recipe.scale, size[1] // recipe.scale)
    stages = [
        DegradationStage(
            _blur(recipe.blur, rng) if recipe.blur else None,
            _resize(recipe.resize, size, recipe.antialias, rng) if recipe.resize else None,
            _noise(recipe.noise, rng) if recipe.noise else None,
            _quality(recipe.jpeg, rng),
        )
    ]
    if rng.random() < recipe.second_probability:
        blur = _blur(recipe.second_blur, rng)
        resize = _resize(recipe.second_resize, small, recipe.antialias, rng)
        stages.append(DegradationStage(blur, resize, _noise(recipe.second_noise, rng), None))
    mode: Mode = "bicubic" if recipe.resize is None else _mode(rng)
    sinc = None
    if rng.random() < recipe.final_sinc_probability:
        cutoff = float(rng.uniform(*recipe.final_sinc_cutoff))
        sinc = Kernel("sinc", _odd(recipe.final_sinc_sizes, rng), cutoff=cutoff)
    quality = _quality(recipe.final_jpeg, rng)
    last = Resize(small, mode, recipe.antialias)
    return Plan(seed, tuple(stages), last, sinc, quality, jpeg_first=bool(rng.random() < 0.5))


def _blur(recipe: BlurRecipe, rng: Generator) -> Kernel | None:
    if rng.random() >= recipe.probability:
        return None
    size = _odd(recipe.sizes, rng)
    if rng.random() < recipe.sinc_probability:
        cutoff = recipe.sinc_cutoff_small if size < _SMALL else recipe.sinc_cutoff
        return Kernel("sinc", size, cutoff=float(rng.uniform(*cutoff)))
    kind = list(recipe.kinds)[_choice(tuple(recipe.kinds.values()), rng)]
    sigma_x = float(rng.uniform(*recipe.sigma))
    sigma_y, theta, beta = sigma_x, 0.0, 1.0
    if kind.endswith("aniso"):
        sigma_y, theta = float(rng.uniform(*recipe.sigma)), float(rng.uniform(-math.pi, math.pi))
    if kind.startswith("generalised"):
        beta = _shape(recipe.beta_generalised, rng)
    if kind.startswith("plateau"):
        beta = _shape(recipe.beta_plateau, rng)
    return Kernel(kind, size, sigma_x, sigma_y, theta, beta)


def _resize(recipe: ResizeRecipe, base: tuple[int, int], antialias: bool, rng: Generator) -> Resize:
    """Resize to ``base`` times a factor: up to the range's end, down to its beginning, or exactly ``base``."""
    direction = _choice(recipe.odds, rng)
    low, high = ((1.0, max(1.0, recipe.factor[1])), (min(1.0, recipe.factor[0]), 1.0), (1.0, 1.0))[direction]
    factor = float(rng.uniform(low, high))
    return Resize((max(1, round(base[0] * factor)), max(1, round(base[1] * factor))), _mode(rng), antialias)


def _noise(recipe: NoiseRecipe, rng: Generator) -> Noise:
    gaussian = bool(rng.random() < recipe.gaussian_probability)
    gray = bool(rng.random() < recipe.gray_probability)
    strength = float(rng.uniform(*recipe.sigma)) / 255 if gaussian else float(rng.uniform(*recipe.poisson_scale))
    return Noise(gaussian, strength, gray)


def _quality(ends: tuple[int, int] | None, rng: Generator) -> int | None:
    return int(rng.integers(ends[0], ends[1] + 1)) if ends else None


def _mode(rng: Generator) -> Mode:
    return MODES[int(rng.integers(len(MODES)))]


def _choice(odds: tuple[float, ...], rng: Generator) -> int:
    """Draw an index with these odds."""
    edges = np.cumsum(odds)
    return int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))


def _odd(sizes: tuple[int, int], rng: Generator) -> int:
    return int(rng.integers(sizes[0] // 2, sizes[1] // 2 + 1)) * 2 + 1


def _shape(beta: tuple[float, float], rng: Generator) -> float:
    """Draw a shape parameter, below and above 1 with equal chance where the range spans 1."""
    low, high = beta
    if low < 1 < high:
        return float(rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high))
    return float(rng.uniform(low, high))
