"""Table 4: the noise predictor off at one step at a time, and on at one step at a time."""

from __future__ import annotations

from lpnsr.reproduce import paper
from lpnsr.reproduce.cases import Chain
from lpnsr.reproduce.lab import Lab
from lpnsr.reproduce.report import Hypothesis, Report, compare, metric_columns, perceptual


def chains(lab: Lab) -> list[Chain]:
    """Return chains with the predictor on, off at t = T .. 2, on at one of these alone, and off."""
    noisy = lab.noisy_steps()
    return [
        lab.chain("all on"),
        *(lab.chain(f"off at t = {t}", at=((t, "gaussian"),)) for t in noisy),
        *(lab.chain(f"on at t = {t} only", noise="gaussian", at=((t, "predicted"),)) for t in noisy),
        lab.chain("all off", noise="gaussian"),
    ]


def make_report(lab: Lab) -> Report:
    """Compare the chains; steps are numbered as in the paper, T first, 1 last, and the last takes no noise."""
    noisy = lab.noisy_steps()
    judges = perceptual(lab)
    known = {2: "NIQE 4.22 against 5.85, PI 3.70 against 4.73"}
    tests = [
        *(
            Hypothesis(
                f"Leaving the predictor off at t = {t} looks worse (all on, off there).",
                "all on",
                [f"off at t = {t}"],
                judges,
                known.get(t, ""),
            )
            for t in noisy
        ),
        Hypothesis("Leaving it off everywhere looks worse (all on, all off).", "all on", ["all off"], judges),
    ]
    if len(noisy) > 1:
        others = [f"off at t = {t}" for t in noisy if t != 2]
        worst = [column.reversed() for column in judges]
        tests.append(
            Hypothesis(
                "Leaving it off costs most at t = 2 (off there, off at another step).", "off at t = 2", others, worst
            )
        )
    tables, claims = compare(lab, chains(lab), metric_columns(lab), tests, paper=paper.TABLE4)
    return Report(
        "table4",
        "Table 4: the predictor step by step",
        "Where the predictor is off, the step takes Gaussian noise. All rows start from the pre-upsampler.",
        tables,
        claims,
    )
