"""The noise predictor: the denoiser's trunk, with a Gaussian for the noise at its end."""

from __future__ import annotations

from typing import Literal, Self

import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from lpnsr.diffusion import StepState, optimal_noise
from lpnsr.networks.roles import Guide
from lpnsr.networks.swin_unet import SwinTrunk, TrunkConfig, join, timestep

LOG_VARIANCE_RANGE = (-30.0, 20.0)


class NoisePredictorConfig(TrunkConfig):
    """A noise predictor: [x_t, x0, LR image] in, mean and log-variance of the noise out."""

    type: Literal["noise_predictor"] = "noise_predictor"
    latent_channels: PositiveInt = 3
    predicts: Literal["noise", "latent"] = "noise"
    """"noise": the mean of the noise itself, as in the paper; "latent": the clean latent as y_0 + latent_scale F, from
    which the mean follows by Eq. 9. Untrained, such a chain reproduces its start."""
    latent_scale: PositiveFloat = 0.4
    """Scale of the network's first output, where it predicts the latent."""
    log_variance_bias: float = 0.0
    """Added to the log-variance."""
    least_log_variance: float | None = None
    """Lower bound of the log-variance, approached smoothly. Training for fidelity alone drives the variance to zero,
    and then no seed changes a picture."""

    @model_validator(mode="after")
    def _check_latent(self) -> Self:
        self.check_condition(self.latent_channels)
        return self


class NoisePredictor(SwinTrunk):
    """Approximates the optimal noise of an intermediate step from what inference has (METHOD: section 2).

    Untrained, it predicts exactly the standard normal distribution.
    """

    role = "noise_predictor"

    def __init__(self, config: NoisePredictorConfig) -> None:
        latent = config.latent_channels
        super().__init__(config, 2 * latent + config.cond_channels, 2 * latent)
        self.config = config
        self.latent_channels = latent

    def forward(self, x_t: Tensor, x0: Tensor, cond: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Unscaled ``x_t`` and prediction ``x0`` (B, c, h, w), ``cond`` (B, 3, h, w) in [-1, 1], ``t`` (B,).

        Returns (mean, log-variance), each (B, c, h, w), the latter clamped to [-30, 20]; where the network predicts the
        latent, the first is F of ``NoisePredictorConfig.predicts``.
        Raises InputError if sizes disagree.
        """
        mean, log_variance = self.compute(join(x_t, x0, cond), self.embed(t, x_t.dtype)).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)

    def predict(self, state: StepState, guide: Guide) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, c, h, w) of z_t; see ``lpnsr.networks.roles.NoisePredictor``."""
        config = self.config
        first, log_variance = self(state.x_t, state.x0, self.condition(guide), timestep(state.label, state.x_t))
        log_variance = log_variance + config.log_variance_bias
        if (least := config.least_log_variance) is not None:
            log_variance = least + F.softplus(log_variance - least)
        if config.predicts == "noise":
            return first, log_variance
        estimate = guide.y0 + config.latent_scale * first
        return optimal_noise(state.schedule, estimate, guide.y0, state.t, state.mean), log_variance
