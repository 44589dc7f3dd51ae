"""An evaluation as one HTML file that needs nothing else: tables to sort, strips of crops, a slider."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from lpnsr import __version__
from lpnsr.evaluation.metrics import Metric
from lpnsr.evaluation.reports.strips import MOST, Strip
from lpnsr.evaluation.reports.tables import (
    TIMING_HEADS,
    as_text,
    count_text,
    digits,
    heading,
    mean_text,
    notes,
    protocol_line,
    timing_cells,
)
from lpnsr.evaluation.results import INTERVALS, Evaluation
from lpnsr.evaluation.scoring import MetricResult


def html(evaluation: Evaluation, strips: Sequence[Strip]) -> str:
    """Render the page, with crops of the images."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        files("lpnsr.evaluation.reports").joinpath("report.html").read_text(encoding="utf-8")
    )
    return template.render(
        evaluation=evaluation,
        strips=strips,
        some=len(evaluation.samples) > MOST,
        intervals=INTERVALS,
        version=__version__,
        heading=heading,
        notes=notes,
        timing_heads=TIMING_HEADS,
        timing_cells=timing_cells,
        protocol_line=protocol_line,
        digits=digits,
        as_text=as_text,
        mean_text=mean_text,
        count_text=count_text,
        score_text=_score_text,
    )


def _score_text(outcome: MetricResult, metric: Metric) -> str:
    return outcome.kind or "–" if outcome.value is None else f"{outcome.value:.{digits(metric)}f}"
