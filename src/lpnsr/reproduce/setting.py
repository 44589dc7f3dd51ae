"""``Setting``: one way of upscaling an image, which experiments cross and results are cached under."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from lpnsr.diffusion import MixedNoise, NoiseSource, OracleNoise
from lpnsr.errors import ConfigError
from lpnsr.networks import Guide
from lpnsr.upscaling.restorer import Restorer, StartKind, fidelity_controls

Noise = Literal["gaussian", "predicted", "mode", "oracle"]
STARTS: dict[str, StartKind] = {"bicubic": "bicubic", "pre-upsampler": "upsampler"}
"""Starts of the chain by their names in tables."""


@dataclass(frozen=True)
class Setting:
    """One way of upscaling. start: of the chain.

    steps: 0 (the start alone) to the schedule's; fewer enter it late, as in the released code.

    noise: of the steps t = T .. 2, with exceptions ``at``: pairs of (t, noise). fidelity and seed as in ``Upscaler``.
    Raises ConfigError for other values.
    """

    start: StartKind = "upsampler"
    steps: int = 4
    noise: Noise = "predicted"
    at: tuple[tuple[int, Noise], ...] = ()
    fidelity: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for noise in (self.noise, *(noise for _, noise in self.at)):
            if noise not in get_args(Noise):
                raise ConfigError(f"noise = {noise!r}: choose {', '.join(get_args(Noise))}")
        for t, _ in self.at:
            if not 2 <= t <= self.steps:
                raise ConfigError(f"step t = {t} takes no noise in {self.steps} steps; allowed: 2 to {self.steps}")

    @property
    def by_step(self) -> dict[int, Noise]:
        """The noise of every step that takes one, by t."""
        return {t: dict(self.at).get(t, self.noise) for t in range(self.steps, 1, -1)}

    @property
    def needs_predictor(self) -> bool:
        """Whether the noise predictor is asked at any step."""
        return any(noise in ("predicted", "mode") for noise in self.by_step.values())

    def identity(self) -> dict[str, object]:
        """Return all that decides the result, and nothing else: equal for settings that cannot differ.

        A chain of one step takes no noise; a temperature of 0 is the mode; Gaussian noise has no temperature; without
        steps nothing but the start counts.
        """
        if self.steps == 0:
            return {"start": self.start, "steps": 0}
        temperature, mean_weight, bicubic_weight = fidelity_controls(self.fidelity)

        def named(noise: Noise) -> str:
            if noise != "predicted":
                return noise
            return "mode" if temperature == 0 else f"predicted at {temperature:g}"

        return {
            "start": self.start,
            "steps": self.steps,
            "noise": {str(t): named(noise) for t, noise in self.by_step.items()},
            "mean_weight": mean_weight,
            "bicubic_weight": bicubic_weight,
            "seed": self.seed,
        }

    def source(self, restorer: Restorer, guide: Guide, truth: Callable[[], Tensor]) -> NoiseSource:
        """Make the noise source of the chain. ``truth`` gives the latent of the HR image, which oracle noise needs."""
        temperature = fidelity_controls(self.fidelity)[0]

        def one(noise: Noise) -> NoiseSource:
            if noise == "oracle":
                return OracleNoise(truth(), guide.y0)
            return restorer.noise_source(noise, guide, temperature)

        return MixedNoise({t: one(noise) for t, noise in self.at}, one(self.noise))
