"""``Lab``: the surroundings of an experiment. It makes and measures the images that are not in the cache yet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from lpnsr import __version__
from lpnsr.errors import ConfigError
from lpnsr.evaluation.cache import Cache, Values
from lpnsr.evaluation.metrics import Metric
from lpnsr.reproduce.cases import Case, Chain
from lpnsr.reproduce.images import ImageSet, Pair
from lpnsr.reproduce.measurements import Measurement, Scored
from lpnsr.reproduce.model import Model, Run
from lpnsr.reproduce.setting import Setting

ReportProgress = Callable[[str, int, int], None]
"""Called with (test set, done, total) after every image of a table."""

_KEPT_RUNS = 16

T = TypeVar("T")


@dataclass(frozen=True)
class Scores:
    """Numbers of every image, for every case by its label."""

    images: ImageSet
    values: Mapping[str, Sequence[Values]]

    def of(self, label: str, name: str) -> list[float | None]:
        """Return the numbers ``name`` of a case, one an image; None where there is none."""
        return [values.get(name) for values in self.values[label]]


@dataclass
class Lab:
    """model: the one under examination. metrics: those that can be computed here; unavailable: why others cannot.

    methods: other methods for ``table2``, folders of images or network files by name; starts: further pre-upsamplers
    for ``table6``; bicubic_model: a model that was trained to start from bicubic, for ``mismatch``. quick: fewer seeds.
    """

    model: Model
    sets: tuple[ImageSet, ...]
    metrics: tuple[Metric, ...]
    cache: Cache
    progress: ReportProgress
    unavailable: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, Path] = field(default_factory=dict)
    starts: Mapping[str, Path] = field(default_factory=dict)
    bicubic_model: Model | None = None
    quick: bool = False
    _runs: OrderedDict[str, Run] = field(default_factory=OrderedDict)

    def chain(self, label: str, **setting: Any) -> Chain:
        """Return the lab's model under ``Setting(**setting)``, by default with all its steps."""
        return Chain(label, self.model, Setting(**{"steps": self.model.steps} | setting))

    def noisy_steps(self) -> range:
        """Return the steps that take noise, t = T .. 2. Raises ConfigError if the model has none."""
        if self.model.steps < 2:
            raise ConfigError(f"the model {self.model.name} has one step, which takes no noise: this needs two or more")
        return range(self.model.steps, 1, -1)

    def score(self, images: ImageSet, cases: Sequence[Case], extra: Sequence[Measurement] = ()) -> Scores:
        """Measure every case on every image, by every metric and by ``extra``.

        Raises ConfigError if two cases have one label.
        """
        measurements = [*(Scored(metric) for metric in self.metrics), *extra]
        rows: dict[str, list[Values]] = {case.label: [] for case in cases}
        if len(rows) < len(cases):
            labels = [case.label for case in cases]
            twice = next(label for label in labels if labels.count(label) > 1)
            raise ConfigError(f"two rows are called {twice!r}: name the method or start that was given otherwise")
        for pair, case in self.each(images, cases):
            rows[case.label].append(self.measure(pair, case, measurements))
        return Scores(images, rows)

    def each(self, images: ImageSet, cases: Collection[T]) -> Iterator[tuple[Pair, T]]:
        """Yield every pair with every case, and report the progress after each."""
        total = len(images.pairs) * len(cases)
        for done, both in enumerate(product(images.pairs, cases), 1):
            yield both
            self.progress(images.name, done, total)

    def remember(self, pair: Pair, key: Mapping[str, object], compute: Callable[[], Values]) -> Values:
        """Return the cached values of the pair under ``key``, or compute them."""
        full = {"lpnsr": __version__, "pair": pair.digest, **key}
        known = self.cache.get(full)
        if known is None:
            known = compute()
            self.cache.put(full, known, {"image": pair.name, **key})
        return known

    def run(self, pair: Pair, case: Case) -> Run:
        """Make the case's image of a pair; the last few are kept."""
        key = repr((pair.digest, case.identity(pair)))
        if key not in self._runs:
            self._runs[key] = case.run(pair)
            while len(self._runs) > _KEPT_RUNS:
                self._runs.popitem(last=False)
        return self._runs[key]

    def measure(self, pair: Pair, case: Case, measurements: Sequence[Measurement]) -> Values:
        """Measure one image by ``measurements``; it is made only if a value is not cached."""
        values: Values = {}
        identity = case.identity(pair)
        for measurement in measurements:
            key = {"case": identity, **measurement.key}
            values |= self.remember(pair, key, partial(self._measured, pair, case, measurement))
        return values

    def _measured(self, pair: Pair, case: Case, measurement: Measurement) -> Values:
        return measurement.measure(self.run(pair, case))
