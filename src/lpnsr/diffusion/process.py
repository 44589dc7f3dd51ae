"""Residual shifting between a clean latent x_0 and the latent y_0 of the upsampled LR image.

All tensors are (B, c, h, w), or anything that broadcasts; t is T .. 1, as in the papers.
"""

from __future__ import annotations

from torch import Tensor

from lpnsr.diffusion.schedule import Schedule
from lpnsr.errors import ConfigError


def q_mean(schedule: Schedule, x0: Tensor, y0: Tensor, t: int) -> Tensor:
    """Compute x_0 + eta_t (y_0 - x_0), the noise-free forward mean (ResShift, Eq. 2)."""
    return x0 + schedule.eta(t) * (y0 - x0)


def q_sample(schedule: Schedule, x0: Tensor, y0: Tensor, t: int, noise: Tensor) -> Tensor:
    """Compute x_t = x_0 + eta_t (y_0 - x_0) + kappa sqrt(eta_t) noise (ResShift, Eq. 2)."""
    return q_mean(schedule, x0, y0, t) + schedule.noise_scale(t) * noise


def posterior_mean(schedule: Schedule, x_t: Tensor, x0: Tensor, t: int) -> Tensor:
    """Compute mu_t = (eta_{t-1} / eta_t) x_t + (alpha_t / eta_t) x_0 (ResShift, Eq. 5); x_0 itself at t = 1."""
    keep, take = schedule.posterior_coefficients(t)
    return keep * x_t + take * x0 if t > 1 else x0


def optimal_noise(schedule: Schedule, x0: Tensor, y0: Tensor, t: int, mean: Tensor) -> Tensor:
    """Compute z*_t = ((1 - eta_{t-1}) x_0 + eta_{t-1} y_0 - mu_t) / sigma_t (LPNSR, Eq. 9).

    ``x0`` is the true clean latent and ``mean`` is mu_t as the sampler computed it. With this noise
    x_{t-1} is exactly the noise-free forward mean. Raises ConfigError at t = 1, which takes no noise.
    """
    if t == 1:
        raise ConfigError("the last step (t = 1) takes no noise, so it has no optimal one; allowed: t >= 2")
    return (q_mean(schedule, x0, y0, t - 1) - mean) / schedule.sigma(t)


def linear_estimate(x_t: Tensor, y0: Tensor, eta: Tensor, kappa: float, variance: Tensor) -> Tensor:
    """Compute y_0 + c_skip (x_t - y_0), the best linear estimate of x_0 from x_t and y_0.

        c_skip = (1 - eta) v / ((1 - eta)^2 v + kappa^2 eta)

    ``eta`` is that of each sample's step, (B, 1, 1, 1); ``variance`` is v, the mean square of x_0 - y_0 in each
    channel, (c, 1, 1). The preconditioning of EDM (Karras et al. 2022, Table 1) for residual shifting.
    """
    c_skip = (1 - eta) * variance / ((1 - eta) ** 2 * variance + kappa**2 * eta)
    return y0 + c_skip * (x_t - y0)


def uncertainty(eta: Tensor, kappa: float, variance: Tensor) -> Tensor:
    """Compute the standard deviation (B, c, 1, 1) of x_0 around ``linear_estimate``, whose arguments these are.

    c_out = sqrt( v kappa^2 eta / ((1 - eta)^2 v + kappa^2 eta) )
    """
    noise = kappa**2 * eta
    return (variance * noise / ((1 - eta) ** 2 * variance + noise)).sqrt()
