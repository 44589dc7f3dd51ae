"""Table 1: fewer steps, with Gaussian noise (ResShift), predicted noise (PreSet-A), pre-upsampler (PreSet-B)."""

from __future__ import annotations

from typing import Any

from lpnsr.evaluation.experiments import paper
from lpnsr.evaluation.experiments.instruments import SECONDS
from lpnsr.evaluation.experiments.lab import Lab
from lpnsr.evaluation.experiments.report import Column, Report, Test, compare, metric_columns, perceptual

WAYS: dict[str, dict[str, Any]] = {
    "ResShift": {"start": "bicubic", "noise": "gaussian"},
    "PreSet-A": {"start": "bicubic", "noise": "predicted"},
    "PreSet-B": {"start": "upsampler", "noise": "predicted"},
}
_TIME = Column("seconds", "seconds", False)


def run(lab: Lab) -> Report:
    """T from 1 to the schedule's steps, each in the three ways."""
    steps = lab.model.steps
    cases = [
        lab.chain(f"T = {count}, {name}", steps=count, **way)
        for count in range(1, steps + 1)
        for name, way in WAYS.items()
    ]
    judges, distortion = perceptual(lab), [c.reversed() for c in metric_columns(lab) if c.name == "psnr"]
    resshift, a, b = (f"T = {steps}, {name}" for name in WAYS)
    tests = [
        Test(
            "Predicted noise looks better than Gaussian noise: PreSet-A than ResShift, all steps.",
            a,
            [resshift],
            judges,
        ),
        Test(
            "With the pre-upsampler, LPNSR looks better than ResShift: PreSet-B than ResShift, all steps.",
            b,
            [resshift],
            judges,
            "NIQE 4.38 against 5.87, MUSIQ 71.71 against 65.59",
        ),
        Test("PSNR is given away for it: PreSet-B has less than ResShift.", b, [resshift], distortion, "-1.22 dB"),
        Test("It takes longer: PreSet-B than ResShift.", b, [resshift], [_TIME.reversed()], "1.09 s against 0.81 s"),
    ]
    theirs = {f"T = 4, {name}": row for name, row in paper.TABLE1.items()}
    tables, claims = compare(lab, cases, [*metric_columns(lab), _TIME], tests, [SECONDS], theirs)
    return Report(
        "table1",
        "Table 1: steps, noise and start",
        "ResShift draws the noise of its steps at random and starts from bicubic. PreSet-A predicts it; PreSet-B "
        "also starts from the pre-upsampler. T below the schedule's number of steps enters the same chain late.",
        tables,
        claims,
        notes=[
            "At T = 1 no step takes noise, so ResShift and PreSet-A are one and the same.",
            f"Seconds: a whole image, colour fix included, on {lab.model.device.type}, as busy as it was at that time.",
        ],
    )
