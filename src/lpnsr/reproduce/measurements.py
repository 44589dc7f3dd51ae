"""Measurements of a run: each gives numbers by name, and the key under which they are cached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lpnsr.diffusion import StepState, optimal_noise
from lpnsr.evaluation.cache import Values
from lpnsr.evaluation.errors import UnscorableImage
from lpnsr.evaluation.metrics import Metric
from lpnsr.reproduce.model import Run


class Measurement(Protocol):
    """A measurement. key: all that decides the numbers besides the run, with a version that rises when they change."""

    @property
    def key(self) -> dict[str, object]: ...

    def measure(self, run: Run) -> Values: ...


@dataclass(frozen=True)
class Scored:
    """A metric of the result against the HR image; None where the metric cannot score it."""

    metric: Metric

    @property
    def key(self) -> dict[str, object]:
        return dict(self.metric.identity)

    def measure(self, run: Run) -> Values:
        try:
            return {self.metric.name: float(self.metric(run.sr, run.hr if self.metric.needs_reference else None))}
        except UnscorableImage:
            return {self.metric.name: None}


@dataclass(frozen=True)
class Measured:
    """Numbers of the run itself, by a function of it; ``name`` and ``version`` stand for the function."""

    name: str
    of: Callable[[Run], Values]
    version: int = 1

    @property
    def key(self) -> dict[str, object]:
        return {"instrument": self.name, "version": self.version}

    def measure(self, run: Run) -> Values:
        return self.of(run)


def latent_error(run: Run) -> Values:
    """Measure the RMS of x_0 of the chain, or of y_0 without steps, minus the latent of the HR image."""
    x0 = run.states[-1].x_previous if run.states else run.y0
    if run.truth is None or x0 is None:
        return {"latent_error": None}
    return {"latent_error": float((x0 - run.truth()).square().mean().sqrt())}


def noise_match(run: Run) -> Values:
    """Compare the noise of each step with the optimal noise of the same step (LPNSR, Eq. 9).

    By the paper's step t: root mean square of the difference, Pearson correlation, root mean square of each.
    """
    values: Values = {}
    for state, noise, best in optimal_noises(run):
        t = state.t
        values[f"distance_t{t}"] = float((noise - best).square().mean().sqrt())
        values[f"correlation_t{t}"] = correlation(noise, best)
        values[f"size_t{t}"] = float(noise.square().mean().sqrt())
        values[f"size_optimal_t{t}"] = float(best.square().mean().sqrt())
    return values


def noise_edges(run: Run) -> Values:
    """Correlate the map of a step's noise, and of the optimal noise, with the edges of the LR image."""
    edges = edge_map(run.lr)
    values: Values = {}
    for state, noise, best in optimal_noises(run):
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


def optimal_noises(run: Run) -> list[tuple[StepState, Tensor, Tensor]]:
    """Return (state, noise, optimal noise) of the steps that took noise."""
    if run.truth is None or run.y0 is None:
        return []
    return [
        (state, state.noise, optimal_noise(state.schedule, run.truth(), run.y0, state.t, state.mean))
        for state in run.states
        if state.noise is not None
    ]
