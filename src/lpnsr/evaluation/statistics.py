"""Means with bootstrap intervals, and paired differences between methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

LEVEL = 0.95
_RESAMPLES = 10_000
_SEED = 0
_CHUNK = 1 << 22  # values drawn at once


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
    """Compute the mean and its 95% percentile-bootstrap interval (10 000 resamples, fixed seed); None of no values."""
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
    """Compute the mean of a - b with its interval, over the images that both have a score of; None without any."""
    return mean_interval([a[name] - b[name] for name in a if name in b])
