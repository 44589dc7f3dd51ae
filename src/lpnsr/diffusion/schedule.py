"""The noise schedule of residual shifting and the coefficients that follow from it, in double precision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from lpnsr.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """eta_1 < ... < eta_T in (0, 1], and kappa.

    Steps are named t = T .. 1, as in the papers. ``labels`` are the 0-based indices that the networks know the steps
    by, that of t = 1 first; in a respaced schedule they are those of the schedule of training.
    Raises ConfigError for values outside these ranges; a step outside 1 .. T is an IndexError.
    """

    kappa: float
    etas: tuple[float, ...]
    labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.labels:
            object.__setattr__(self, "labels", tuple(range(len(self.etas))))
        rising = all(a < b for a, b in zip((0.0, *self.etas), self.etas, strict=False))
        if not self.etas or not rising or self.etas[-1] > 1:
            raise ConfigError(f"etas {self.etas} must rise strictly within (0, 1]")
        if not self.kappa > 0:
            raise ConfigError(f"kappa is {self.kappa}; it must be positive")
        if len(self.labels) != len(self.etas):
            raise ConfigError(f"{len(self.labels)} labels for {len(self.etas)} steps; give one for each")

    @classmethod
    def geometric(
        cls,
        steps: int = 4,
        kappa: float = 2.0,
        min_noise_level: float = 0.2,
        etas_end: float = 0.99,
        power: float = 0.3,
    ) -> Self:
        """Make a schedule whose sqrt(eta) grows geometrically in warped time (ResShift, Sec. 3.1).

            sqrt(eta_t) = s_1 (s_T / s_1) ** (((t-1) / (T-1)) ** power),  s_1 = min(m / kappa, m),  s_T = etas_end

        A single step takes s_T. Raises ConfigError for ``steps`` below 1 or unless 0 < s_1 < s_T <= 1.
        """
        if steps < 1:
            raise ConfigError(f"steps is {steps}; at least 1 is needed")
        if not kappa > 0:
            raise ConfigError(f"kappa is {kappa}; it must be positive")
        first = min(min_noise_level / kappa, min_noise_level)
        if not (0 < first < etas_end <= 1 and power > 0):
            raise ConfigError(
                f"min_noise_level {min_noise_level}, etas_end {etas_end} and power {power} make no schedule; "
                "0 < min(m / kappa, m) < etas_end <= 1 and power > 0 are needed"
            )
        times = [i / (steps - 1) for i in range(steps)] if steps > 1 else [1.0]
        return cls(kappa, tuple((first * (etas_end / first) ** (time**power)) ** 2 for time in times))

    def respaced(self, count: int) -> Self:
        """Keep ``count`` of the steps, evenly spaced, t = T always and t = 1 from two on.

        The networks go on being told the labels that they were trained with.
        Raises ConfigError unless 1 <= count <= steps.
        """
        if not 1 <= count <= self.steps:
            raise ConfigError(f"{count} steps asked of a schedule of {self.steps}; allowed: 1 to {self.steps}")
        last = self.steps - 1
        kept = [math.floor(i * last / (count - 1) + 0.5) for i in range(count)] if count > 1 else [last]
        return type(self)(self.kappa, tuple(self.etas[i] for i in kept), tuple(self.labels[i] for i in kept))

    @property
    def steps(self) -> int:
        """T."""
        return len(self.etas)

    def eta(self, t: int) -> float:
        """Compute eta_t."""
        return self.etas[self._index(t)]

    def label(self, t: int) -> int:
        """Return the index that the networks know step ``t`` by."""
        return self.labels[self._index(t)]

    def _index(self, t: int) -> int:
        if not 1 <= t <= self.steps:
            raise IndexError(f"step t = {t} of a schedule of {self.steps}; allowed: 1 to {self.steps}")
        return t - 1

    def eta_previous(self, t: int) -> float:
        """Compute eta_{t-1}; eta_0 is 0."""
        return self.eta(t - 1) if t != 1 else 0.0

    def alpha(self, t: int) -> float:
        """Compute alpha_t = eta_t - eta_{t-1}."""
        return self.eta(t) - self.eta_previous(t)

    def posterior_coefficients(self, t: int) -> tuple[float, float]:
        """Compute (a, b) of mu_t = a x_t + b x0:  a = eta_{t-1} / eta_t,  b = alpha_t / eta_t."""
        return self.eta_previous(t) / self.eta(t), self.alpha(t) / self.eta(t)

    def sigma(self, t: int) -> float:
        """Compute sigma_t = kappa sqrt(eta_{t-1} alpha_t / eta_t); 0 at t = 1."""
        return self.kappa * math.sqrt(self.eta_previous(t) * self.alpha(t) / self.eta(t))

    def noise_scale(self, t: int) -> float:
        """Compute kappa sqrt(eta_t), the standard deviation of q(x_t | x_0, y_0)."""
        return self.kappa * math.sqrt(self.eta(t))

    def input_scale(self, t: int) -> float:
        """Compute 1 / sqrt(kappa^2 eta_t + 1): what x_t is multiplied by before the denoiser sees it."""
        return 1.0 / math.sqrt(self.kappa**2 * self.eta(t) + 1.0)
