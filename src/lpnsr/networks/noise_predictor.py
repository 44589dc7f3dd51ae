"""The noise predictor: the denoiser's trunk, with a Gaussian for the noise at its end."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor

from lpnsr.networks.swin_unet import SwinTrunk, TrunkConfig, join

LOG_VARIANCE_RANGE = (-30.0, 20.0)


class NoisePredictorConfig(TrunkConfig):
    """A noise predictor: [x_t, x0, LR image] in, mean and log-variance of the noise out."""

    type: Literal["noise_predictor"] = "noise_predictor"
    latent_channels: PositiveInt = 3
    cond_channels: PositiveInt = 3


class NoisePredictor(SwinTrunk):
    """Approximates the optimal noise of an intermediate step from what inference has (METHOD: section 2).

    Untrained, it predicts exactly the standard normal distribution.
    """

    def __init__(self, config: NoisePredictorConfig) -> None:
        latent = config.latent_channels
        super().__init__(config, 2 * latent + config.cond_channels, 2 * latent)
        self.config = config

    def forward(self, x_t: Tensor, x0: Tensor, cond: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Unscaled ``x_t`` and prediction ``x0`` (B, c, h, w), ``cond`` (B, 3, h, w) in [-1, 1], ``t`` (B,).

        Returns (mean, log-variance), each (B, c, h, w), the latter clamped to [-30, 20].
        Raises InputError if sizes disagree.
        """
        mean, log_variance = self.run(join(x_t, x0, cond), self.embed(t, x_t.dtype)).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)
