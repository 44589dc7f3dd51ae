"""An evaluation as CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence

from lpnsr.evaluation.metrics import Metric
from lpnsr.evaluation.results import INTERVALS, Evaluation
from lpnsr.evaluation.statistics import Interval

_DIGITS = {"psnr": 2, "niqe": 3, "pi": 3, "musiq": 2}
_ARROWS = {True: "↑", False: "↓"}


def digits(metric: Metric) -> int:
    """Return the number of decimals that are shown."""
    return _DIGITS.get(metric.name, 4)


def heading(metric: Metric) -> str:
    """Return the title of a metric and the direction of better."""
    return f"{metric.title} {_ARROWS[metric.higher_is_better]}"


def protocol_line(metric: Metric) -> str:
    """Return what a number of this metric is, in one line."""
    reference = "against HR" if metric.needs_reference else "no reference"
    return f"{metric.title}: {metric.protocol}; {reference}; {metric.version}"


def notes(evaluation: Evaluation) -> list[str]:
    """Return what the numbers of an evaluation are: images, metrics, times, and what is missing; a line each."""
    return [
        *([f"Images: {evaluation.dataset}"] if evaluation.dataset else []),
        *map(protocol_line, evaluation.metrics),
        *(f"Seconds of {name}: {t.protocol} ({t.count} images)" for name, t in evaluation.timings.items()),
        *(f"{name}: not available. {reason}" for name, reason in evaluation.unavailable.items()),
    ]


TIMING_HEADS = ("s/image", "MFLOP/LR px")


def timing_cells(evaluation: Evaluation, method: str) -> tuple[str, str]:
    """Return the seconds for an image and the MFLOP for an LR pixel of a method, or dashes."""
    timing = evaluation.timings.get(method)
    numbers = (timing.seconds, timing.mflop) if timing else (None, None)
    return "–" if numbers[0] is None else f"{numbers[0]:.3g}", "–" if numbers[1] is None else f"{numbers[1]:.3g}"


def as_text(interval: Interval | None, places: int) -> str:
    """Return ``mean [low, high]``, or the mean alone where there is no interval, or a dash."""
    if interval is None:
        return "–"
    if interval.low == interval.high:
        return f"{interval.mean:.{places}f}"
    return f"{interval.mean:.{places}f} [{interval.low:.{places}f}, {interval.high:.{places}f}]"


def mean_text(evaluation: Evaluation, method: str, metric: Metric) -> str:
    """Write a mean, such as ``26.31 [25.90, 26.80] (30 of 32: 1 infinite, 1 too small)``."""
    interval, missing = evaluation.mean(method, metric), evaluation.missing(method, metric)
    text = as_text(interval, digits(metric))
    if not missing:
        return text
    count = interval.count if interval else 0
    return f"{text} ({count} of {count + sum(missing.values())}: {missing_text(missing)})"


def missing_text(missing: Mapping[str, int]) -> str:
    """Return ``1 infinite, 2 too small``."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(missing.items()))


def scores_csv(evaluation: Evaluation) -> str:
    """Write one line a score: image, method, metric, value or reason, protocol, version."""
    rows = (
        (s.sample.name, method, m.name, _exact(o.value), o.reason or "", m.protocol, m.version)
        for s in evaluation.samples
        for method, outcomes in s.outcomes.items()
        for m in evaluation.of_images
        for o in [outcomes[m.name]]
    )
    return csv_table(("image", "method", "metric", "value", "reason", "protocol", "version"), rows)


def means_csv(evaluation: Evaluation) -> str:
    """Write one line a mean, then one a paired difference (method ``a - b``)."""
    pairs = [(method, m) for method in evaluation.methods for m in evaluation.metrics]
    means = [(method, m, evaluation.mean(method, m), evaluation.missing(method, m)) for method, m in pairs]
    none: dict[str, int] = {}
    differences = [(f"{d.a} - {d.b}", d.metric, d.interval, none) for d in evaluation.differences()]
    rows = [
        (method, m.name, *_numbers(interval), missing_text(missing), m.protocol, m.version)
        for method, m, interval, missing in [*means, *differences]
        if interval or missing
    ]
    return csv_table(("method", "metric", "mean", "low", "high", "count", "missing", "protocol", "version"), rows)


def markdown(evaluation: Evaluation) -> str:
    """Return the means, differences, protocols and problems; every image is in the CSV."""
    parts = ["# Evaluation", _means(evaluation)]
    if len(evaluation.methods) > 1:
        rows = [
            (f"{d.a} − {d.b}", d.metric.title, as_text(d.interval, digits(d.metric)), str(d.interval.count), d.verdict)
            for d in evaluation.differences()
        ]
        head = ("methods", "metric", "mean difference", "images", "")
        parts += ["## Paired differences", markdown_table(head, rows, numbers=(2, 3)), evaluation.verdicts]
    lines = [*notes(evaluation), f"In brackets: {INTERVALS}"]
    parts += ["## Protocol", "\n".join(f"- {escaped(line)}" for line in lines)]
    if evaluation.problems:
        found = [f"- {escaped(f'{p.where}: {p.file}: {p.reason}')}" for p in evaluation.problems]
        parts += ["## Not scored, not paired", "\n".join(found)]
    return "\n\n".join(parts) + "\n"


def _means(evaluation: Evaluation) -> str:
    head = ["method", "images", *map(heading, evaluation.metrics)]
    head += [*(f"{name} (not available)" for name in evaluation.unavailable)]
    head += TIMING_HEADS if evaluation.timings else ()
    rows = []
    for method in evaluation.methods:
        intervals = [evaluation.mean(method, metric) for metric in evaluation.metrics]
        row = [method, count_text(intervals)]
        for metric in evaluation.metrics:
            text = mean_text(evaluation, method, metric)
            row.append(f"**{text}**" if evaluation.best(metric) == method else text)
        row += ["–"] * len(evaluation.unavailable)
        if evaluation.timings:
            row += timing_cells(evaluation, method)
        rows.append(row)
    return markdown_table(head, rows, numbers=range(1, len(head)))


def count_text(intervals: Sequence[Interval | None]) -> str:
    """Return how many images the means are over: one number, or the range of the metrics'."""
    counts = sorted({interval.count if interval else 0 for interval in intervals})
    return f"{counts[0]}–{counts[-1]}" if len(counts) > 1 else str(counts[0]) if counts else "0"


def _numbers(interval: Interval | None) -> tuple[str, str, str, str]:
    if interval is None:
        return "", "", "", "0"
    return _exact(interval.mean), _exact(interval.low), _exact(interval.high), str(interval.count)


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int] = ()) -> str:
    """Write a Markdown table without a line feed at its end. numbers: columns that are aligned to the right."""
    rule = ["---:" if column in numbers else "---" for column in range(len(head))]
    return "\n".join("| " + " | ".join(escaped(cell) for cell in line) + " |" for line in (head, rule, *rows))


def escaped(text: str) -> str:
    """Put a text into one line that no table breaks on."""
    return " ".join(text.replace("|", "\\|").split())


def csv_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a CSV table with a line feed after every row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()
