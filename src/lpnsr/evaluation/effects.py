"""Smallest effects of interest: a difference below them does not matter, however certain it is."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from lpnsr.evaluation.statistics import Interval

SMALLEST_EFFECTS = {
    "psnr": 0.05,
    "ssim": 0.002,
    "lpips": 0.002,
    "lpips-alex": 0.002,
    "lpips-vgg": 0.002,
    "niqe": 0.05,
    "r50": 0.002,
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
    """Explain the rule of ``effect``, with the smallest effects of numbers given as (name, title)."""
    effects = dict.fromkeys(f"{title.partition(',')[0]} {smallest_effect(name):g}" for name, title in titles)
    return (
        "A difference counts where its 95% interval excludes zero and its mean is larger than the smallest effect of "
        f"interest, fixed beforehand: {', '.join(effects)}. No effect of interest: the interval lies within plus or "
        "minus that effect. Not decided: neither, for the interval is too wide."
    )
