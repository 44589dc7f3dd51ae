"""Means with bootstrap intervals, paired differences, and the smallest effects that matter however certain they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

LEVEL = 0.95
_RESAMPLES = 10_000
_SEED = 0
_CHUNK = 1 << 22  # values drawn at once

SMALLEST_EFFECTS = {
    "psnr": 0.05,
    "ssim": 0.002,
    "lpips": 0.002,
    "lpips-alex": 0.002,
    "lpips-vgg": 0.002,
    "niqe": 0.05,
    "r50": 0.002,
    "dists": 0.002,
    "fid": 0.5,
    "pi": 0.05,
    "clipiqa": 0.005,
    "musiq": 0.5,
    "maniqa": 0.005,
    "latent_error": 0.002,  # of latents of about unit size
    "distance": 0.02,  # of noise of unit size
    "correlation": 0.02,
    "edges": 0.02,
    "pixels": 0.1,  # levels of 255
    "seconds": 0.05,
    "mflop": 0.1,
}
"""By the name of a metric, or of what an experiment measures; fixed before any result was seen."""


@dataclass(frozen=True)
class Interval:
    """A mean of ``count`` values and its interval [low, high]; one value has no spread to tell, and low = high."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def excludes_zero(self) -> bool:
        return self.count > 1 and (self.low > 0 or self.high < 0)


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Compute mean and 95% percentile-bootstrap interval (10 000 resamples, fixed seed); None of no values."""
    return _bootstrap(tuple(values)) if len(values) else None


@lru_cache(maxsize=4096)  # every table and report asks again
def _bootstrap(values: tuple[float, ...]) -> Interval:
    data = np.asarray(values, dtype=np.float64)
    mean = float(data.mean())
    if len(data) == 1:
        return Interval(mean, mean, mean, 1)
    generator = np.random.default_rng(_SEED)
    means = np.empty(_RESAMPLES)
    step = max(1, _CHUNK // len(data))
    for start in range(0, _RESAMPLES, step):
        count = min(step, _RESAMPLES - start)
        means[start : start + count] = data[generator.integers(len(data), size=(count, len(data)))].mean(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean, float(low), float(high), len(data))


def paired_difference(a: Mapping[str, float], b: Mapping[str, float]) -> Interval | None:
    """Return the mean of a - b with its interval, over the images that both have a score of; None if there are none."""
    return mean_interval([a[name] - b[name] for name in a if name in b])


class Effect(StrEnum):
    """The result of a comparison."""

    HIGHER = "higher"
    LOWER = "lower"
    NONE = "no effect of interest"
    UNDECIDED = "not decided"


def smallest_effect(name: str) -> float:
    """Return the smallest effect of interest of a number; those of a step, such as ``edges_t2``, share one."""
    return SMALLEST_EFFECTS[name.partition("_t")[0]]


def effect(difference: Interval, smallest: float) -> Effect:
    """Judge a mean paired difference.

    HIGHER or LOWER: the interval excludes zero, and the mean is larger than ``smallest``. NONE: the interval lies
    within +-``smallest``. UNDECIDED: neither, as the interval is too wide or has one image only.
    """
    if difference.excludes_zero and abs(difference.mean) > smallest:
        return Effect.HIGHER if difference.mean > 0 else Effect.LOWER
    inside = difference.count > 1 and max(-difference.low, difference.high) <= smallest
    return Effect.NONE if inside else Effect.UNDECIDED


def effects_text(titles: Iterable[tuple[str, str]]) -> str:
    """Explain what ``effect`` does, with the smallest effects of numbers given as (name, title)."""
    effects = dict.fromkeys(f"{title.partition(',')[0]} {smallest_effect(name):g}" for name, title in titles)
    return (
        "A difference counts where its 95% interval excludes zero and its mean is larger than the smallest effect of "
        f"interest, fixed beforehand: {', '.join(effects)}. No effect of interest: the interval lies within plus or "
        "minus that effect. Not decided: neither, for the interval is too wide."
    )
