"""Grid: start, steps and noise, all crossed."""

from __future__ import annotations

from lpnsr.reproduce.lab import Lab
from lpnsr.reproduce.model import Noise
from lpnsr.reproduce.report import Hypothesis, Report, compare, metric_columns, perceptual
from lpnsr.upscaling.restorer import StartKind

_STARTS: dict[str, StartKind] = {"bicubic": "bicubic", "pre-upsampler": "upsampler"}
_NOISES: tuple[Noise, ...] = ("gaussian", "mode", "predicted")


def make_report(lab: Lab) -> Report:
    """Cross start, steps and noise; with one step or none there is no noise to choose."""
    steps = lab.model.steps
    cases = []
    for name, start in _STARTS.items():
        cases += [lab.chain(f"{name}, {count} steps", start=start, steps=count) for count in range(min(2, steps + 1))]
        cases += [
            lab.chain(f"{name}, {count} steps, {noise}", start=start, steps=count, noise=noise)
            for count in range(2, steps + 1)
            for noise in _NOISES
        ]
    judges = perceptual(lab)
    best = f"pre-upsampler, {steps} steps, predicted"
    gaussian, mode = (f"pre-upsampler, {steps} steps, {noise}" for noise in ("gaussian", "mode"))
    tests = [
        Hypothesis(
            "Predicted noise looks better than Gaussian noise, from the pre-upsampler.", best, [gaussian], judges
        ),
        Hypothesis("A sample of the predicted noise looks better than its mode.", best, [mode], judges),
        Hypothesis("The pre-upsampler is the better start.", best, [f"bicubic, {steps} steps, predicted"], judges),
        Hypothesis("The chain looks better than the pre-upsampler alone.", best, ["pre-upsampler, 0 steps"], judges),
        Hypothesis("All steps look better than one.", best, ["pre-upsampler, 1 steps"], judges),
    ]
    tables, claims = compare(lab, cases, metric_columns(lab), tests)
    return Report(
        "grid",
        "Grid: start x steps x noise",
        "The paper compares methods; here every start meets every number of steps and every noise. 0 steps are the "
        "start alone, with the same colour fix.",
        tables,
        claims,
    )
