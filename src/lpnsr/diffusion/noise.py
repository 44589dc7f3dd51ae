"""Noise sources: what a reverse step adds to its mean.

A source maps the state of a step to z, shaped like x_t. It is never asked at the last step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lpnsr.diffusion.process import optimal_noise
from lpnsr.diffusion.schedule import Schedule
from lpnsr.errors import ConfigError


@dataclass(frozen=True)
class StepState:
    """One reverse step. Tensors are (B, c, h, w)."""

    schedule: Schedule
    t: int
    """The step, T .. 1."""
    label: int
    """The 0-based index that the networks know this step by."""
    x_t: Tensor
    """The state that enters, unscaled."""
    x0: Tensor
    """The denoiser's prediction."""
    mean: Tensor
    """mu_t."""
    sigma: float
    """sigma_t; 0 at the last step."""
    draw: Callable[[], Tensor]
    """Standard Gaussian noise of this step, shaped like ``x_t``; each step has one field."""
    noise: Tensor | None = None
    """z_t, once the source was asked; None before, and at the last step."""
    x_previous: Tensor | None = None
    """x_{t-1}, once the step is done; the result of the chain at the last step."""


NoiseSource = Callable[[StepState], Tensor]
Predictor = Callable[[StepState], tuple[Tensor, Tensor]]
"""The state of a step -> mean and log-variance of its noise, each shaped like x_t."""


@dataclass(frozen=True)
class GaussianNoise:
    """z ~ N(0, 1): ResShift."""

    def __call__(self, state: StepState) -> Tensor:
        return state.draw()


@dataclass(frozen=True)
class PredictedNoise:
    """z = mean + temperature * exp(log-variance / 2) * eps: LPNSR.

    The conditions of ``predictor`` are bound by the caller.
    Temperature 1 samples, 0 takes the mode and draws nothing. Raises ConfigError below 0.
    """

    predictor: Predictor
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ConfigError(f"temperature is {self.temperature}; 0 (mode) to 1 (sample) or more is allowed")

    def __call__(self, state: StepState) -> Tensor:
        mean, log_variance = self.predictor(state)
        if self.temperature == 0:
            return mean
        return mean + self.temperature * torch.exp(0.5 * log_variance) * state.draw()


@dataclass(frozen=True)
class OracleNoise:
    """The optimal noise (LPNSR, Eq. 9), which needs the true clean latent: an upper bound."""

    x0_true: Tensor
    y0: Tensor

    def __call__(self, state: StepState) -> Tensor:
        return optimal_noise(state.schedule, self.x0_true, self.y0, state.t, state.mean)


@dataclass(frozen=True)
class MixedNoise:
    """One source for some steps, by t = T .. 2, another for the rest: the paper's Table 4.

    Raises ConfigError for steps below 2, which take no noise.
    """

    sources: Mapping[int, NoiseSource]
    default: NoiseSource = field(default_factory=GaussianNoise)

    def __post_init__(self) -> None:
        for t in self.sources:
            if t < 2:
                raise ConfigError(f"step t = {t} takes no noise; allowed: 2 to T, as the last step is t = 1")

    def __call__(self, state: StepState) -> Tensor:
        return self.sources.get(state.t, self.default)(state)
