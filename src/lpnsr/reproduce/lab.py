"""``Lab``: makes the images of an experiment and measures them with instruments; numbers are cached."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lpnsr import __version__
from lpnsr.diffusion import StepState, optimal_noise
from lpnsr.errors import ConfigError
from lpnsr.evaluation.cache import Cache, Values
from lpnsr.evaluation.errors import UnscorableImage
from lpnsr.evaluation.metrics import Metric
from lpnsr.reproduce.cases import Case, Chain
from lpnsr.reproduce.images import ImageSet, Pair
from lpnsr.reproduce.model import Model, Restoration, Setting


class Instrument(Protocol):
    """A measurement. key: all that decides the numbers beside the restoration, and a version to raise on a change."""

    @property
    def key(self) -> dict[str, object]: ...

    def measure(self, restoration: Restoration) -> Values: ...


@dataclass(frozen=True)
class Scored:
    """A metric of the result against the HR image; None where the metric cannot score it."""

    metric: Metric

    @property
    def key(self) -> dict[str, object]:
        return dict(self.metric.identity)

    def measure(self, restoration: Restoration) -> Values:
        try:
            return {
                self.metric.name: float(
                    self.metric(restoration.sr, restoration.hr if self.metric.needs_reference else None)
                )
            }
        except UnscorableImage:
            return {self.metric.name: None}


@dataclass(frozen=True)
class Measured:
    """Numbers of the restoration itself, by a function of it; ``name`` and ``version`` stand for the function."""

    name: str
    of: Callable[[Restoration], Values]
    version: int = 1

    @property
    def key(self) -> dict[str, object]:
        return {"instrument": self.name, "version": self.version}

    def measure(self, restoration: Restoration) -> Values:
        return self.of(restoration)


def latent_error(restoration: Restoration) -> Values:
    """Measure the RMS of x_0 of the chain, or of y_0 without steps, minus the latent of the HR image."""
    x0 = restoration.states[-1].x_previous if restoration.states else restoration.y0
    if restoration.truth is None or x0 is None:
        return {"latent_error": None}
    return {"latent_error": float((x0 - restoration.truth()).square().mean().sqrt())}


def noise_match(restoration: Restoration) -> Values:
    """Compare the noise of each step with the optimal noise of the same step (LPNSR, Eq. 9).

    By the paper's step t: root mean square of the difference, Pearson correlation, root mean square of each.
    """
    values: Values = {}
    for state, noise, best in optimal_noises(restoration):
        t = state.t
        values[f"distance_t{t}"] = float((noise - best).square().mean().sqrt())
        values[f"correlation_t{t}"] = correlation(noise, best)
        values[f"size_t{t}"] = float(noise.square().mean().sqrt())
        values[f"size_optimal_t{t}"] = float(best.square().mean().sqrt())
    return values


def noise_edges(restoration: Restoration) -> Values:
    """Correlate the map of a step's noise, and of the optimal noise, with the edges of the LR image."""
    edges = edge_map(restoration.lr)
    values: Values = {}
    for state, noise, best in optimal_noises(restoration):
        t = state.t
        values[f"edges_t{t}"] = correlation(noise_map(noise), edges)
        values[f"edges_optimal_t{t}"] = correlation(noise_map(best), edges)
    return values


LATENT_ERROR = Measured("latent error", latent_error, version=2)
NOISE_MATCH = Measured("noise match", noise_match, version=2)
NOISE_EDGES = Measured("noise edges", noise_edges)


def edge_map(lr: Tensor) -> Tensor:
    """Compute the Sobel magnitude of the mean of the channels: (3, h, w) -> (h, w)."""
    kernel = lr.new_tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    gray = F.pad(lr.mean(0)[None, None], (1, 1, 1, 1), mode="replicate")
    gradients = F.conv2d(gray, torch.stack([kernel, kernel.T])[:, None])
    return gradients.square().sum(1).sqrt()[0]


def noise_map(noise: Tensor) -> Tensor:
    """Compute the root mean square over the channels: (1, c, h, w) -> (h, w) on the CPU."""
    return noise[0].float().square().mean(0).sqrt().cpu()


def correlation(a: Tensor, b: Tensor) -> float | None:
    """Compute Pearson's correlation of all values; None where one is constant."""
    x, y = a.double().flatten().cpu(), b.double().flatten().cpu()
    x, y = x - x.mean(), y - y.mean()
    spread = float(x.norm() * y.norm())
    return float(x @ y) / spread if spread > 0 else None


def optimal_noises(restoration: Restoration) -> list[tuple[StepState, Tensor, Tensor]]:
    """Return (state, noise, optimal noise) of the steps that took noise."""
    if restoration.truth is None or restoration.y0 is None:
        return []
    return [
        (state, state.noise, optimal_noise(state.schedule, restoration.truth(), restoration.y0, state.t, state.mean))
        for state in restoration.states
        if state.noise is not None
    ]


Progress = Callable[[str, int, int], None]
"""(what, done, total): is told how far a table is."""

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

    methods: other methods for ``table2`` by name: models, network files or folders of images; starts: further
    pre-upsamplers for ``table6``; bicubic_model: a model that was trained to start from bicubic, for ``mismatch``.
    quick: fewer seeds.
    """

    model: Model
    sets: tuple[ImageSet, ...]
    metrics: tuple[Metric, ...]
    cache: Cache
    progress: Progress
    unavailable: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[str, Path] = field(default_factory=dict)
    bicubic_model: Model | None = None
    quick: bool = False
    _runs: OrderedDict[str, Restoration] = field(default_factory=OrderedDict)

    def chain(self, label: str, **setting: Any) -> Chain:
        """Return the lab's model under ``Setting(**setting)``, by default with all its steps."""
        return Chain(label, self.model, Setting(**{"steps": self.model.steps} | setting))

    def noisy_steps(self) -> range:
        """Return the steps that take noise, t = T .. 2. Raises ConfigError if the model has none."""
        if self.model.steps < 2:
            raise ConfigError(f"the model {self.model.name} has one step, which takes no noise: this needs two or more")
        return range(self.model.steps, 1, -1)

    def score(self, images: ImageSet, cases: Sequence[Case], extra: Sequence[Instrument] = ()) -> Scores:
        """Measure every case on every image, by every metric and by ``extra``.

        Raises ConfigError if two cases have one label.
        """
        instruments = [*(Scored(metric) for metric in self.metrics), *extra]
        rows: dict[str, list[Values]] = {case.label: [] for case in cases}
        if len(rows) < len(cases):
            labels = [case.label for case in cases]
            twice = next(label for label in labels if labels.count(label) > 1)
            raise ConfigError(f"two rows are called {twice!r}: name the method or start that was given otherwise")
        for pair, case in self.each(images, cases):
            rows[case.label].append(self.measure(pair, case, instruments))
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

    def make(self, pair: Pair, case: Case) -> Restoration:
        """Make the case's image of a pair; the last few are kept."""
        key = repr((pair.digest, case.identity(pair)))
        if key not in self._runs:
            self._runs[key] = case.make(pair)
            while len(self._runs) > _KEPT_RUNS:
                self._runs.popitem(last=False)
        return self._runs[key]

    def measure(self, pair: Pair, case: Case, instruments: Sequence[Instrument]) -> Values:
        """Measure one image by ``instruments``; it is made only if a value is not cached."""
        values: Values = {}
        identity = case.identity(pair)
        for instrument in instruments:
            key = {"case": identity, **instrument.key}
            values |= self.remember(pair, key, partial(self._measured, pair, case, instrument))
        return values

    def _measured(self, pair: Pair, case: Case, instrument: Instrument) -> Values:
        return instrument.measure(self.make(pair, case))
