"""``Report``: the findings of an experiment, as tables, verdicts on claims, and plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from lpnsr.evaluation.statistics import Effect, Interval, effect, mean_interval, smallest_effect
from lpnsr.reproduce.cases import Case
from lpnsr.reproduce.images import ImageSet
from lpnsr.reproduce.lab import Instrument, Lab, Scores


@dataclass(frozen=True)
class Column:
    """A number of a table. name: of the number. higher_is_better: None where neither is."""

    name: str
    title: str
    higher_is_better: bool | None = None

    @property
    def heading(self) -> str:
        """The title, with an arrow to the better side."""
        return self.title + {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]

    def reversed(self) -> Column:
        """Return the column with the other side as the better one, for a claim that a number is given away."""
        return replace(self, higher_is_better=not self.higher_is_better)


@dataclass(frozen=True)
class Table:
    """Means. title: mostly the test set. rows: by column name, None for no number. paper: the paper's own, by label.

    intervals: the means of metrics are shown with their intervals.
    """

    title: str
    columns: Sequence[Column]
    rows: Mapping[str, Mapping[str, Interval | None]]
    paper: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    images: int = 0
    intervals: bool = False


@dataclass(frozen=True)
class Difference:
    """A mean paired difference between two cases with its 95% interval, and its outcome for a claim.

    base: mean of the worse case. against: its label, where a claim has several.
    """

    where: str
    column: Column
    interval: Interval
    base: float
    against: str = ""

    @property
    def outcome(self) -> str:
        """ "holds" or "fails" for an effect of interest on the claimed side or the other; else the ``Effect``."""
        found = effect(self.interval, smallest_effect(self.column.name))
        if found in (Effect.NONE, Effect.UNDECIDED):
            return found
        return "holds" if (found is Effect.HIGHER) == bool(self.column.higher_is_better) else "fails"


@dataclass(frozen=True)
class Claim:
    """A statement, and the differences that test it. ``paper``: the paper's own figures for it, in words."""

    text: str
    differences: Sequence[Difference]
    paper: str = ""

    def verdict(self, where: str) -> str:
        """Combine the outcomes on one test set: "holds in part" or "fails" where some do and others do not."""
        outcomes = {d.outcome for d in self.differences if d.where == where}
        if len(outcomes) == 1:
            return outcomes.pop()
        if "holds" in outcomes:
            return "holds in part"
        return "fails" if "fails" in outcomes else Effect.UNDECIDED

    @property
    def places(self) -> list[str]:
        """The test sets."""
        return list(dict.fromkeys(d.where for d in self.differences))


@dataclass(frozen=True)
class Plot:
    """A PNG; ``name`` goes into its file name."""

    name: str
    png: bytes
    caption: str


@dataclass(frozen=True)
class Report:
    """The findings of an experiment. question: in a sentence or two. notes: sentences about these numbers."""

    name: str
    title: str
    question: str
    tables: Sequence[Table]
    claims: Sequence[Claim] = ()
    plots: Sequence[Plot] = ()
    notes: Sequence[str] = ()


def metric_columns(lab: Lab) -> list[Column]:
    """Return the columns of all metrics of the lab."""
    return [Column(metric.name, metric.title, metric.higher_is_better) for metric in lab.metrics]


def perceptual(lab: Lab) -> list[Column]:
    """Return the columns of the metrics of perception: all but PSNR and SSIM."""
    return [column for column in metric_columns(lab) if column.name not in ("psnr", "ssim")]


@dataclass(frozen=True)
class Hypothesis:
    """A claim to test: the case ``better`` is better than each of ``than`` by the numbers of ``columns``."""

    text: str
    better: str
    than: Sequence[str]
    columns: Sequence[Column]
    paper: str = ""


def compare(
    lab: Lab,
    cases: Sequence[Case] | Callable[[ImageSet], Sequence[Case]],
    columns: Sequence[Column],
    tests: Sequence[Hypothesis] = (),
    extra: Sequence[Instrument] = (),
    paper: Mapping[str, Mapping[str, float]] | None = None,
) -> tuple[list[Table], list[Claim]]:
    """Make a table for each test set with a row for each case, and test the claims; cases may depend on the set."""
    of = cases if callable(cases) else lambda images: cases
    everywhere = [lab.score(images, of(images), extra) for images in lab.sets]
    return [table_of(scores, columns, paper) for scores in everywhere], claims_of(everywhere, tests)


def claims_of(everywhere: Sequence[Scores], tests: Sequence[Hypothesis]) -> list[Claim]:
    """Test the hypotheses on the scores of all test sets."""
    return [
        Claim(test.text, [d for scores in everywhere for d in differences(scores, test)], test.paper) for test in tests
    ]


def table_of(
    scores: Scores,
    columns: Sequence[Column],
    paper: Mapping[str, Mapping[str, float]] | None = None,
    rows: Sequence[str] | None = None,
    title: str = "",
    intervals: bool = False,
) -> Table:
    """Tabulate means over the images, of all cases or of ``rows``; ``title`` follows the test set's name."""
    means = {
        label: {column.name: _mean(scores.of(label, column.name)) for column in columns}
        for label in (scores.values if rows is None else rows)
    }
    name = f"{scores.images.name}: {title}" if title else scores.images.name
    return Table(name, columns, means, paper or {}, len(scores.images.pairs), intervals)


def differences(scores: Scores, test: Hypothesis) -> list[Difference]:
    """Compute better minus worse, over the images that both have a number for."""
    found = []
    for worse in test.than:
        against = worse if len(test.than) > 1 else ""
        for column in test.columns:
            both = zip(scores.of(test.better, column.name), scores.of(worse, column.name), strict=True)
            known = [(a, b) for a, b in both if a is not None and b is not None]
            interval = mean_interval([a - b for a, b in known])
            if interval is not None:
                base = sum(b for _, b in known) / len(known)
                found.append(Difference(scores.images.name, column, interval, base, against))
    return found


def _mean(values: Sequence[float | None]) -> Interval | None:
    return mean_interval([value for value in values if value is not None])


def as_json(report: Report) -> dict[str, object]:
    """Return the report without its plots, for machines."""
    return {
        "experiment": report.name,
        "title": report.title,
        "tables": [
            {
                "title": table.title,
                "images": table.images,
                "rows": {
                    label: {name: None if i is None else asdict(i) for name, i in row.items()}
                    for label, row in table.rows.items()
                },
                "paper": {label: dict(row) for label, row in table.paper.items()},
            }
            for table in report.tables
        ],
        "claims": [
            {
                "text": claim.text,
                "paper": claim.paper,
                "verdicts": {place: claim.verdict(place) for place in claim.places},
                "differences": [
                    {
                        "set": d.where,
                        "number": d.column.name,
                        "outcome": d.outcome,
                        "smallest_effect": smallest_effect(d.column.name),
                        "against": d.against,
                        "base": d.base,
                        **asdict(d.interval),
                    }
                    for d in claim.differences
                ],
            }
            for claim in report.claims
        ],
        "notes": list(report.notes),
    }
