"""Mismatch: a chain that was trained to start from bicubic or from the pre-upsampler, crossed with both in use."""

from __future__ import annotations

from lpnsr.reproduce.cases import Chain
from lpnsr.reproduce.lab import Lab
from lpnsr.reproduce.model import Setting
from lpnsr.reproduce.report import Hypothesis, Report, compare, metric_columns
from lpnsr.upscaling.restorer import StartKind

_STARTS: dict[str, StartKind] = {"bicubic": "bicubic", "pre-upsampler": "upsampler"}


def make_report(lab: Lab) -> Report:
    """Compare the starts, with both models behind the pre-upsampler of the lab's model."""
    models = {"the model": lab.model}
    if lab.bicubic_model is not None:
        other = lab.bicubic_model.starting_from(lab.bicubic_model.name, lab.model.restorer.upsampler)
        models = {"trained with the pre-upsampler": lab.model, "trained with bicubic": other}
    cases = [
        Chain(f"{trained}, from {name}", model, Setting(start=start, steps=model.steps))
        for trained, model in models.items()
        for name, start in _STARTS.items()
    ]
    columns = metric_columns(lab)
    if lab.bicubic_model is None:
        notes = [
            "Only one model was given, so training is not crossed, only the start at inference: give the other with "
            "--bicubic-model FOLDER (a denoiser and predictor trained with start_from: {bicubic: 1})."
        ]
        tests = [
            Hypothesis("The model works better from the pre-upsampler.", cases[1].label, [cases[0].label], columns)
        ]
    else:
        notes = []
        tests = [
            Hypothesis(
                "The paper's mismatch costs something: from the pre-upsampler, a chain trained with it is better than "
                "one trained with bicubic.",
                cases[1].label,
                [cases[3].label],
                columns,
            ),
            Hypothesis(
                "From bicubic, a chain trained with bicubic is better.", cases[2].label, [cases[0].label], columns
            ),
            Hypothesis(
                "Even trained with bicubic, the pre-upsampler is the better start.",
                cases[3].label,
                [cases[2].label],
                columns,
            ),
        ]
    tables, claims = compare(lab, cases, columns, tests)
    return Report(
        "mismatch",
        "Mismatch: the start in training and at inference",
        "The paper trains its chain to start from bicubic and starts it from the pre-upsampler in use. All steps, "
        "predicted noise.",
        tables,
        claims,
        notes=notes,
    )
