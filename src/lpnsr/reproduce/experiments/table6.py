"""Table 6: starts of the chain."""

from __future__ import annotations

from lpnsr.evaluation.enlarging import load_network
from lpnsr.reproduce.cases import Case, Chain
from lpnsr.reproduce.lab import Lab
from lpnsr.reproduce.model import Setting
from lpnsr.reproduce.report import Hypothesis, Report, compare, metric_columns, perceptual

OWN = "own pre-upsampler"


def make_report(lab: Lab) -> Report:
    """Compare bicubic, the model's own pre-upsampler and the lab's further starts, each alone and before the chain."""
    steps = lab.model.steps
    cases: list[Case] = [
        lab.chain("bicubic, alone", start="bicubic", steps=0),
        lab.chain("bicubic + chain", start="bicubic"),
        lab.chain(f"{OWN}, alone", steps=0),
        lab.chain(f"{OWN} + chain"),
    ]
    for name, path in lab.starts.items():
        model = lab.model.starting_from(name, load_network(path, lab.model.device)[0])
        cases += [
            Chain(f"{name}, alone", model, Setting(steps=0)),
            Chain(f"{name} + chain", model, Setting(steps=steps)),
        ]
    judges, chain = perceptual(lab), f"{OWN} + chain"
    others = ["bicubic + chain", *(f"{name} + chain" for name in lab.starts)]
    tests = [
        Hypothesis(
            "The GAN-trained pre-upsampler, the model's own, is the best start (it, others).",
            chain,
            others,
            judges,
            "SwinIR-GAN is best",
        ),
        Hypothesis(
            "The chain looks better than the start that it is given (chain, pre-upsampler alone).",
            chain,
            [f"{OWN}, alone"],
            judges,
        ),
    ]
    tables, claims = compare(lab, cases, metric_columns(lab), tests)
    notes = [] if lab.starts else ["No further start was given (--start NAME=FILE or FOLDER)."]
    return Report(
        "table6",
        "Table 6: starts",
        "The same chain (all steps, predicted noise) from different enlargements of the LR image, and these "
        "enlargements alone, with the same colour fix.",
        tables,
        claims,
        notes=notes,
    )
