"""Table 1: fewer steps, with Gaussian noise (ResShift), predicted noise (PreSet-A), pre-upsampler (PreSet-B)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lpnsr.checkpoints import PARTS
from lpnsr.evaluation.cache import Values
from lpnsr.networks import chain_flops
from lpnsr.reproduce import paper
from lpnsr.reproduce.cases import Chain
from lpnsr.reproduce.images import ImageSet, Pair
from lpnsr.reproduce.lab import Lab, Scores
from lpnsr.reproduce.report import Column, Hypothesis, Report, claims_of, metric_columns, perceptual, table_of
from lpnsr.system.machine import machine_of

WAYS: dict[str, dict[str, Any]] = {
    "ResShift": {"start": "bicubic", "noise": "gaussian"},
    "PreSet-A": {"start": "bicubic", "noise": "predicted"},
    "PreSet-B": {"start": "upsampler", "noise": "predicted"},
}
_TIME = Column("seconds", "seconds", False)
_ARITHMETIC = Column("mflop", "MFLOP per LR pixel", False)
_TIMED_IMAGES, _REPEATS = 2, 3


def make_report(lab: Lab) -> Report:
    """Compare T from 1 to the schedule's steps, each in the three ways."""
    steps = lab.model.steps
    cases = [
        lab.chain(f"T = {count}, {name}", steps=count, **way)
        for count in range(1, steps + 1)
        for name, way in WAYS.items()
    ]
    judges, distortion = perceptual(lab), [c.reversed() for c in metric_columns(lab) if c.name == "psnr"]
    resshift, a, b = (f"T = {steps}, {name}" for name in WAYS)
    tests = [
        Hypothesis(
            "Predicted noise looks better than Gaussian noise (PreSet-A, ResShift; all steps).", a, [resshift], judges
        ),
        Hypothesis(
            "With the pre-upsampler too, LPNSR looks better than ResShift (PreSet-B, ResShift; all steps).",
            b,
            [resshift],
            judges,
            "NIQE 4.38 against 5.87, MUSIQ 71.71 against 65.59",
        ),
        Hypothesis("PSNR is given away for it (PreSet-B, ResShift).", b, [resshift], distortion, "-1.22 dB"),
        Hypothesis("It computes more (PreSet-B, ResShift).", b, [resshift], [_ARITHMETIC.reversed()]),
        Hypothesis("It takes longer (PreSet-B, ResShift).", b, [resshift], [_TIME.reversed()], "1.09 s against 0.81 s"),
    ]
    theirs = {f"T = 4, {name}": row for name, row in paper.TABLE1.items()}
    everywhere = [_timed(lab, images, cases) for images in lab.sets]
    tables = [table_of(scores, [*metric_columns(lab), _ARITHMETIC, _TIME], theirs) for scores in everywhere]
    return Report(
        "table1",
        "Table 1: steps, noise and start",
        "ResShift draws the noise of its steps at random and starts from bicubic. PreSet-A predicts it; PreSet-B "
        "also starts from the pre-upsampler. T below the schedule's number of steps enters the same chain late.",
        tables,
        claims_of(everywhere, tests),
        notes=[
            "At T = 1 no step takes noise, so ResShift and PreSet-A are one and the same.",
            f"Seconds: an image without the colour fix, on {machine_of(lab.model.device)}; the least of {_REPEATS} "
            f"times, mean over the first {_TIMED_IMAGES} images of a set.",
        ],
    )


def _timed(lab: Lab, images: ImageSet, cases: Sequence[Chain]) -> Scores:
    """Score all images, count their arithmetic, and time the first few."""
    scores = lab.score(images, cases)
    first, rest = images.pairs[:_TIMED_IMAGES], images.pairs[_TIMED_IMAGES:]
    rows: dict[str, list[Values]] = {}
    for case in cases:
        seconds: list[Values] = [*(_seconds(lab, pair, case) for pair in first), *({} for _ in rest)]
        mflop: Values = {_ARITHMETIC.name: _mflop(case)}
        rows[case.label] = [
            known | mflop | more for known, more in zip(scores.values[case.label], seconds, strict=True)
        ]
    return Scores(images, rows)


def _mflop(case: Chain) -> float | None:
    """Count the arithmetic of the parts that the setting uses."""
    restorer, setting = case.model.restorer, case.setting
    parts = {name: net for name in PARTS if (net := getattr(restorer, name)) is not None}
    if setting.start == "bicubic" and not restorer.denoiser.feature_channels:
        parts.pop("upsampler", None)
    if not setting.needs_predictor:
        parts.pop("noise_predictor", None)
    flops = chain_flops({str(name): net for name, net in parts.items()}, setting.steps)
    return None if flops is None else flops / 1e6


def _seconds(lab: Lab, pair: Pair, case: Chain) -> Values:
    """Return the least of several times, since other work of the machine only adds to it."""
    key = {"case": case.identity(pair), "seconds": 1, "repeats": _REPEATS, "machine": machine_of(case.model.device)}
    times = (case.model.seconds(pair.lr, pair.hr, case.setting) for _ in range(_REPEATS))
    return lab.remember(pair, key, lambda: {_TIME.name: min(times)})
