"""Table 1: fewer steps, with Gaussian noise (ResShift), predicted noise (PreSet-A), pre-upsampler (PreSet-B)."""

from __future__ import annotations

from typing import Any

from lpnsr.reproduce import paper
from lpnsr.reproduce.lab import Lab
from lpnsr.reproduce.report import Hypothesis, Report, claims_of, metric_columns, perceptual, table_of
from lpnsr.reproduce.times import ARITHMETIC, TIME, score_and_time, times_note

WAYS: dict[str, dict[str, Any]] = {
    "ResShift": {"start": "bicubic", "noise": "gaussian"},
    "PreSet-A": {"start": "bicubic", "noise": "predicted"},
    "PreSet-B": {"start": "upsampler", "noise": "predicted"},
}


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
        Hypothesis("It computes more (PreSet-B, ResShift).", b, [resshift], [ARITHMETIC.reversed()]),
        Hypothesis("It takes longer (PreSet-B, ResShift).", b, [resshift], [TIME.reversed()], "1.09 s against 0.81 s"),
    ]
    theirs = {f"T = 4, {name}": row for name, row in paper.TABLE1.items()}
    everywhere = [score_and_time(lab, images, cases) for images in lab.sets]
    tables = [table_of(scores, [*metric_columns(lab), ARITHMETIC, TIME], theirs) for scores in everywhere]
    return Report(
        "table1",
        "Table 1: steps, noise and start",
        "ResShift draws the noise of its steps at random and starts from bicubic. PreSet-A predicts it; PreSet-B "
        "also starts from the pre-upsampler. T below the schedule's number of steps enters the same chain late.",
        tables,
        claims_of(everywhere, tests),
        notes=[
            "At T = 1 no step takes noise, so ResShift and PreSet-A are one and the same.",
            times_note(lab.model.device),
        ],
    )
