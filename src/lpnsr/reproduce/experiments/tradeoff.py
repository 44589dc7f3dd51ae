"""Trade-off: perception against distortion, over fidelity, noise and steps."""

from __future__ import annotations

from collections.abc import Sequence

from lpnsr.errors import ConfigError
from lpnsr.reproduce.cases import Chain
from lpnsr.reproduce.lab import Lab
from lpnsr.reproduce.model import Noise
from lpnsr.reproduce.plots import Curve, Panel, curves, require
from lpnsr.reproduce.report import Column, Hypothesis, Plot, Report, Table, compare, metric_columns, perceptual

FIDELITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
_UPPER = (0.0, 0.75, 1.0)  # the lower half cools predicted noise, of which there is none here
_FIDELITIES_OF: dict[Noise, tuple[float, ...]] = {"predicted": FIDELITIES, "gaussian": _UPPER}
_PSNR = Column("psnr", "PSNR", True)


def make_report(lab: Lab) -> Report:
    """Draw a curve over fidelity for every number of steps and kind of noise, and two starts as points."""
    require()
    judges = perceptual(lab)
    if not judges or "psnr" not in [column.name for column in metric_columns(lab)]:
        raise ConfigError("a trade-off needs psnr and a metric of perception, such as lpips: give both with --metrics")
    steps = lab.model.steps
    lines = {"T = 1": [lab.chain(f"T = 1, fidelity {f:g}", steps=1, fidelity=f) for f in _UPPER]}
    for count in range(2, steps + 1):
        for noise, fidelities in _FIDELITIES_OF.items():
            lines[f"T = {count}, {noise}"] = [
                lab.chain(f"T = {count}, {noise}, fidelity {f:g}", steps=count, noise=noise, fidelity=f)
                for f in fidelities
            ]
    points = [lab.chain("bicubic", start="bicubic", steps=0), lab.chain("pre-upsampler alone", steps=0)]
    cases = [*points, *(case for line in lines.values() for case in line)]
    base = f"T = {steps}, predicted" if steps > 1 else "T = 1"
    zero, half, one = (f"{base}, fidelity {f:g}" for f in (0.0, 0.5, 1.0))
    tests = [
        Hypothesis("Fidelity raises PSNR (fidelity 1, 0).", one, [zero], [_PSNR]),
        Hypothesis("It costs perception (fidelity 1, 0).", one, [zero], [c.reversed() for c in judges]),
    ]
    if steps > 1:
        gaussian = f"T = {steps}, gaussian, fidelity 0"
        lost = [_PSNR.reversed()]
        tests += [
            Hypothesis("Its lower half, from sample to mode, raises PSNR (fidelity 0.5, 0).", half, [zero], [_PSNR]),
            Hypothesis("Predicted noise gives PSNR away (predicted, Gaussian; same start).", zero, [gaussian], lost),
        ]
    tables, claims = compare(lab, cases, metric_columns(lab), tests)
    plots = [
        Plot(
            judge.name,
            curves([_panel(table, lines, [p.label for p in points], judge) for table in tables], _PSNR, judge),
            f"PSNR and {judge.title}; dots: fidelity {', '.join(f'{f:g}' for f in FIDELITIES)}; up and right is better",
        )
        for judge in judges
    ]
    return Report(
        "tradeoff",
        "Trade-off: perception against distortion",
        "Every curve runs over fidelity, from 0 (most detail) to 1 (closest to the input); all from the pre-upsampler. "
        "Fidelity 0.5 is the mode of the predicted noise. "
        "The paper gives 1.22 dB of PSNR away against ResShift, changing noise and start together, and has no control.",
        tables,
        claims,
        plots,
    )


def _panel(table: Table, lines: dict[str, list[Chain]], points: Sequence[str], judge: Column) -> Panel:
    def place(label: str) -> tuple[float, float] | None:
        x, y = table.rows[label].get(_PSNR.name), table.rows[label].get(judge.name)
        return None if x is None or y is None else (x.mean, y.mean)

    found = [Curve(name, [p for case in line if (p := place(case.label))]) for name, line in lines.items()]
    return Panel(table.title, found, {label: p for label in points if (p := place(label))})
