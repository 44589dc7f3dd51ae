"""Time and arithmetic of cases, as columns of a table."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lpnsr.evaluation.cache import Values
from lpnsr.reproduce.cases import Case
from lpnsr.reproduce.images import ImageSet, Pair
from lpnsr.reproduce.lab import Lab, Scores
from lpnsr.reproduce.report import Column
from lpnsr.system.machine import machine_of

TIME = Column("seconds", "seconds", False)
ARITHMETIC = Column("mflop", "MFLOP per LR pixel", False)
_IMAGES, _REPEATS = 2, 3


def score_and_time(lab: Lab, images: ImageSet, cases: Sequence[Case]) -> Scores:
    """Score all images, count their arithmetic, and time the first few."""
    scores = lab.score(images, cases)
    first, rest = images.pairs[:_IMAGES], images.pairs[_IMAGES:]
    rows: dict[str, list[Values]] = {}
    for case in cases:
        mflop: Values = {ARITHMETIC.name: case.mflop()}
        seconds: list[Values] = [*(_seconds(lab, pair, case) for pair in first), *({} for _ in rest)]
        known = zip(scores.values[case.label], seconds, strict=True)
        rows[case.label] = [values | mflop | more for values, more in known]
    return Scores(images, rows)


def times_note(device: torch.device) -> str:
    """Say how the seconds were measured."""
    return (
        f"Seconds: an image without the colour fix, on {machine_of(device)}; the least of {_REPEATS} times, mean over "
        f"the first {_IMAGES} images of a set."
    )


def _seconds(lab: Lab, pair: Pair, case: Case) -> Values:
    """Return the least of several times, since other work of the machine only adds to it."""
    machine = machine_of(lab.model.device)
    key = {"case": case.identity(pair), "seconds": 1, "repeats": _REPEATS, "machine": machine}

    def least() -> Values:
        times = [seconds for _ in range(_REPEATS) if (seconds := case.seconds(pair)) is not None]
        return {TIME.name: min(times, default=None)}

    return lab.remember(pair, key, least)
