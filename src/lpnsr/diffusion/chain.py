"""The reverse chain: one pure, differentiable function for inference, training and analysis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from lpnsr.diffusion.noise import NoiseSource, StepState
from lpnsr.diffusion.noise_field import Draw
from lpnsr.diffusion.process import posterior_mean
from lpnsr.diffusion.schedule import Schedule
from lpnsr.errors import ConfigError

Denoiser = Callable[[Tensor, int], Tensor]


def reverse_chain(
    denoiser: Denoiser,
    schedule: Schedule,
    y0: Tensor,
    noise: NoiseSource,
    draw: Draw,
    *,
    start: int | None = None,
    callback: Callable[[StepState], None] | None = None,
) -> Tensor:
    """Restore x_0 from ``y0`` (B, c, h, w), the latent of the upsampled LR image.

        x_n = y_0 + kappa sqrt(eta_n) eps,   x_{t-1} = mu_t + sigma_t z_t,   at t = 1 x_0 = f

    ``denoiser`` maps (scaled x_t, label) to its prediction of x_0; conditions are bound by the caller.
    ``noise`` gives z_t at t > 1. ``draw(i, shape)`` gives the standard normal noise in x_i: i is n for the first
    state and t - 1 for z_t (see NoiseField.draw). ``start`` = n enters the schedule late, for its last n steps
    only (default: all T). ``callback`` sees every finished step. Raises ConfigError unless 1 <= start <= T.
    """
    first = schedule.steps if start is None else start
    if not 1 <= first <= schedule.steps:
        raise ConfigError(f"start is {start}; allowed: 1 to {schedule.steps}, the steps of the schedule")

    def gaussian(state: int) -> Tensor:
        return draw(state, tuple(y0.shape)).to(y0)

    x = y0 + schedule.noise_scale(first) * gaussian(first)
    for t in range(first, 0, -1):
        label = schedule.label(t)
        x0 = denoiser(schedule.input_scale(t) * x, label)
        mean, sigma = posterior_mean(schedule, x, x0, t), schedule.sigma(t)
        state = StepState(schedule, t, label, x, x0, mean, sigma, draw=lambda t=t: gaussian(t - 1))  # type: ignore[misc]
        if t > 1:
            z = noise(state)
            x = mean + sigma * z
            state = replace(state, noise=z, x_previous=x)
        else:
            x = mean
            state = replace(state, x_previous=x)
        if callback is not None:
            callback(state)
    return x
