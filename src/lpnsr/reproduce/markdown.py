"""Reports as Markdown and CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lpnsr.evaluation.reports.tables import as_text, csv_table, markdown_table
from lpnsr.evaluation.statistics import Interval, effects_text
from lpnsr.reproduce import paper
from lpnsr.reproduce.report import Claim, Difference, Report, Table

_FEW = 10
_LARGEST_SHARE = 2


@dataclass(frozen=True)
class Header:
    """The head of every file. command: made the numbers. protocols: a line a metric."""

    command: str
    model: str
    images: Sequence[str]
    protocols: Sequence[str]
    fewest: int

    def under(self, title: str) -> list[str]:
        """Write the first paragraphs of a file with this title."""
        about = f"- Model: {self.model}\n- Images: {', '.join(self.images)}"
        return [f"# {title}", f"    {self.command}", about]


def render(report: Report, header: Header) -> str:
    """Write the whole file."""
    parts = [*header.under(report.title), report.question]
    claims = [claim for claim in report.claims if claim.differences]
    if claims:
        parts.append("## Do the claims hold in these numbers?")
        parts.append("\n".join(line for claim in claims for line in claim_lines(claim)))
        parts.append(
            "Differences are means over the same images, in brackets relative to the second's mean and as 95% "
            f"intervals. {_verdicts(claims)}"
            + (f" Intervals of {header.fewest} images are too narrow and say little." if header.fewest < _FEW else "")
        )
    for table in report.tables:
        parts += [f"## {table.title}", table_text(table)]
    if any(table.paper for table in report.tables):
        parts.append(paper.SOURCE)
    parts += [f"![{plot.caption}]({report.name}-{plot.name}.png)\n\n{plot.caption}" for plot in report.plots]
    if report.notes:
        parts.append("\n".join(f"- {note}" for note in report.notes))
    parts += ["## Protocols", "\n".join(f"- {line}" for line in header.protocols)]
    return "\n\n".join(parts) + "\n"


def summary(reports: Sequence[Report], header: Header) -> str:
    """Tabulate all claims with their verdicts: a row a claim, a column a test set."""
    places = list(dict.fromkeys(place for r in reports for claim in r.claims for place in claim.places))
    rows = []
    for report in reports:
        for claim in report.claims:
            verdicts = [f"**{claim.verdict(place)}**" if place in claim.places else "–" for place in places]
            rows.append([f"[{report.name}]({report.name}.md)", claim.text, *verdicts])
    parts = [
        *header.under("Which claims hold"),
        _verdicts([claim for report in reports for claim in report.claims]),
        "A claim of several numbers holds in part where it holds by some of them, and fails where it fails by some and "
        "holds by none.",
        markdown_table(["experiment", "claim", *places], rows),
    ]
    return "\n\n".join(parts) + "\n"


def _verdicts(claims: Sequence[Claim]) -> str:
    """Explain the verdicts on ``claims``."""
    columns = [d.column for claim in claims for d in claim.differences]
    return (
        f"{effects_text((c.name, c.title) for c in columns)} A claim holds where the difference counts and is on its "
        "side, and fails where it counts and is on the other."
    )


def claim_lines(claim: Claim) -> list[str]:
    """Write the claim, and a line with its verdict for every test set."""
    lines = [f"- {claim.text}" + (f" (Paper: {claim.paper}.)" if claim.paper else "")]
    for place in claim.places:
        found = [difference_text(d) for d in claim.differences if d.where == place]
        lines.append(f"    - {place}: **{claim.verdict(place)}**. {'; '.join(found)}")
    return lines


def difference_text(difference: Difference) -> str:
    """Write a difference: LPIPS -0.012 (-4.1%, -0.020 to -0.005), holds."""
    i = difference.interval
    digits = _digits([i.mean, i.low, i.high], 2)
    share = i.mean / difference.base if difference.base else math.inf
    # Relative to next to nothing (Gaussian noise's correlations), a share says nothing.
    relative = f"{100 * share:+.{0 if abs(share) > 0.1 else 2}f}%, " if abs(share) < _LARGEST_SHARE else ""
    numbers = f"{i.mean:+.{digits}f} ({relative}{i.low:+.{digits}f} to {i.high:+.{digits}f})"
    against = f" against {difference.against}" if difference.against else ""
    return f"{difference.column.title} {numbers}{against}, {difference.outcome}"


def table_text(table: Table) -> str:
    """Write a Markdown table: means, and the paper's figures in columns of their own."""
    known = [name for name in paper.TITLES if any(name in row for row in table.paper.values())]
    heads = ["", *(column.heading for column in table.columns), *(f"paper: {paper.TITLES[name]}" for name in known)]
    digits = {
        column.name: _digits([i.mean for row in table.rows.values() if (i := row.get(column.name))], 4)
        for column in table.columns
    }
    rows = []
    for label in [*table.rows, *(label for label in table.paper if label not in table.rows)]:
        row, theirs = table.rows.get(label), table.paper.get(label, {})
        cells = [(row.get(c.name), digits[c.name]) for c in table.columns] if row is not None else []
        means = [_mean(i, places, table.intervals) for i, places in cells] or [""] * len(table.columns)
        rows.append([label, *means, *(f"{theirs[name]:g}" if name in theirs else "" for name in known)])
    return markdown_table(heads, rows, numbers=range(1, len(heads)))


def _mean(interval: Interval | None, places: int, whole: bool) -> str:
    return as_text(interval, places) if whole or interval is None else f"{interval.mean:.{places}f}"


def csv_text(report: Report) -> str:
    """Write every mean with its interval: set, row, number, mean, low, high, paper."""
    rows = []
    for table in report.tables:
        for label, row in table.rows.items():
            theirs: Mapping[str, float] = table.paper.get(label, {})
            for name, i in row.items():
                numbers = ["", "", ""] if i is None else [f"{value:.6g}" for value in (i.mean, i.low, i.high)]
                rows.append([table.title, label, name, *numbers, theirs.get(name, "")])
    return csv_table(["table", "row", "number", "mean", "low", "high", "paper"], rows)


def _digits(values: Sequence[float], significant: int) -> int:
    """Return the decimals that show the largest of ``values`` with so many significant digits, at least 2."""
    largest = max(map(abs, values), default=0.0)
    place = math.floor(math.log10(largest)) if largest else -1
    return max(2, min(5, significant - 1 - place))
