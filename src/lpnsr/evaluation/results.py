"""``Evaluation``: scores, their means and differences, and the files that could not be scored."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import combinations

from lpnsr import __version__
from lpnsr.evaluation.metrics import Metric
from lpnsr.evaluation.pairing import Problem
from lpnsr.evaluation.scoring import SampleScores
from lpnsr.evaluation.statistics import (
    Effect,
    Interval,
    effect,
    effects_text,
    mean_interval,
    paired_difference,
    smallest_effect,
)
from lpnsr.evaluation.upscaling import Timing

INTERVALS = "95% bootstrap over the images (10 000 resamples, percentiles, fixed seed)"
_FEW = 10  # images of which an interval says little
_OF_A_METRIC = ("title", "higher_is_better", "needs_reference", "protocol", "version")


@dataclass(frozen=True)
class Difference:
    """Mean of a - b over the images that both have."""

    a: str
    b: str
    metric: Metric
    interval: Interval

    @property
    def verdict(self) -> str:
        """The better method, if the difference is of interest and certain."""
        found = effect(self.interval, smallest_effect(self.metric.name))
        if found in (Effect.NONE, Effect.UNDECIDED):
            return found
        better = self.a if (found is Effect.HIGHER) == self.metric.higher_is_better else self.b
        return f"{better} is better" + (f", on only {self.interval.count} images" if self.interval.count < _FEW else "")


@dataclass
class Evaluation:
    """methods: names and where their images are. unavailable: why a metric has no column. dataset: name of the images,
    where known. of_sets: by method and metric, scores of all images together."""

    methods: dict[str, str]
    metrics: list[Metric]
    unavailable: dict[str, str]
    samples: list[SampleScores]
    problems: list[Problem]
    timings: dict[str, Timing] = field(default_factory=dict)
    dataset: str = ""
    of_sets: dict[str, dict[str, Interval]] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether something that should have been scored was not."""
        return any(problem.failed for problem in self.problems)

    @property
    def of_images(self) -> list[Metric]:
        """The metrics that score single images."""
        return [metric for metric in self.metrics if not metric.of_set]

    def values(self, method: str, metric: Metric) -> dict[str, float]:
        """Return scores by the sample's name, where there is one."""
        if metric.of_set:
            return {}
        found = {s.sample.name: s.outcomes[method][metric.name] for s in self.samples if method in s.outcomes}
        return {name: outcome.value for name, outcome in found.items() if outcome.value is not None}

    def missing(self, method: str, metric: Metric) -> dict[str, int]:
        """Return how many images of the method have no score, by the kind of reason; they are no part of its mean."""
        if metric.of_set:
            return {}
        outcomes = (s.outcomes[method][metric.name] for s in self.samples if method in s.outcomes)
        return dict(Counter(outcome.kind for outcome in outcomes if outcome.kind is not None))

    def mean(self, method: str, metric: Metric) -> Interval | None:
        if metric.of_set:
            return self.of_sets.get(method, {}).get(metric.name)
        return mean_interval(list(self.values(method, metric).values()))

    def best(self, metric: Metric) -> str | None:
        """Return the method of the best mean, if there are several and all means are over the same images."""
        scored = {method: self.values(method, metric) for method in self.methods}
        scored = {method: values for method, values in scored.items() if values}
        if len(scored) < 2 or len({frozenset(values) for values in scored.values()}) > 1:
            return None
        means = {method: sum(values.values()) for method, values in scored.items()}
        return (max if metric.higher_is_better else min)(means, key=means.__getitem__)

    def differences(self) -> list[Difference]:
        """Compare every two methods, in every metric."""
        found = []
        for a, b in combinations(self.methods, 2):
            for metric in self.metrics:
                interval = paired_difference(self.values(a, metric), self.values(b, metric))
                if interval is not None:
                    found.append(Difference(a, b, metric, interval))
        return found

    @property
    def verdicts(self) -> str:
        """Explanation of the verdicts on differences."""
        return effects_text((m.name, m.title) for m in self.of_images)

    def as_json(self) -> dict[str, object]:
        """Return everything, for machines; a score that is not there is null beside its reason."""
        return {
            "made_by": f"lpnsr {__version__}",
            "dataset": self.dataset,
            "intervals": INTERVALS,
            "methods": self.methods,
            "metrics": {m.name: {key: getattr(m, key) for key in _OF_A_METRIC} for m in self.metrics},
            "unavailable": self.unavailable,
            "means": {
                method: {m.name: _interval(self.mean(method, m)) for m in self.metrics} for method in self.methods
            },
            "missing": {
                method: {m.name: missing for m in self.metrics if (missing := self.missing(method, m))}
                for method in self.methods
            },
            "verdicts": self.verdicts,
            "differences": [
                {"a": d.a, "b": d.b, "metric": d.metric.name, **(_interval(d.interval) or {}), "verdict": d.verdict}
                for d in self.differences()
            ],
            "timings": {
                name: {"median_seconds": t.seconds, "count": t.count, "mflop": t.mflop, "protocol": t.protocol}
                for name, t in self.timings.items()
            },
            "images": [
                {
                    "name": s.sample.name,
                    "scores": {
                        method: {
                            name: {"value": o.value} if o.reason is None else {"value": None, "reason": o.reason}
                            for name, o in outcomes.items()
                        }
                        for method, outcomes in s.outcomes.items()
                    },
                }
                for s in self.samples
            ],
            "problems": [asdict(problem) for problem in self.problems],
        }


def _interval(interval: Interval | None) -> dict[str, float | int] | None:
    return None if interval is None else asdict(interval)
