"""Four networks and a schedule make a restorer: LR batch -> SR batch. Knows no file, no tile and no loss.

Inference and end-to-end training call the same functions; both reach the one reverse chain of ``lpnsr.diffusion``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from lpnsr.diffusion import (
    GaussianNoise,
    NoiseSource,
    PredictedNoise,
    Schedule,
    StepState,
    reverse_chain,
)
from lpnsr.errors import ConfigError
from lpnsr.networks import BicubicUpsampler

NoiseKind = Literal["predicted", "mode", "gaussian"]
StartKind = Literal["upsampler", "bicubic"]
Draw = Callable[[int, tuple[int, ...]], Tensor]
NoiseRecipe = Callable[[Tensor, Tensor], NoiseSource]
"""(condition, y_0) -> a noise source, for the sources that are made of more than a name: oracle, mixtures."""


class Restorer(nn.Module):
    """The parts of a model around its schedule.

    upsampler: (B, 3, h, w) in [0, 1] -> (B, 3, 4h, 4w); None starts from bicubic.
    noise_predictor: None leaves Gaussian noise.
    """

    def __init__(
        self,
        schedule: Schedule,
        autoencoder: nn.Module,
        denoiser: nn.Module,
        upsampler: nn.Module | None = None,
        noise_predictor: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.schedule = schedule
        self.autoencoder = autoencoder
        self.denoiser = denoiser
        self.bicubic = BicubicUpsampler()
        self.upsampler = upsampler
        self.noise_predictor = noise_predictor

    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, 4h, 4w) in [0, 1] -> z (B, c, h, w)."""
        return self.autoencoder.encode(image * 2 - 1)  # type: ignore[operator,no-any-return]

    def decode(self, z: Tensor) -> Tensor:
        """z (B, c, h, w) -> image (B, 3, 4h, 4w), about [0, 1]."""
        return (self.autoencoder.decode(z) + 1) / 2  # type: ignore[operator,no-any-return]

    def upsample(self, lr: Tensor, start: StartKind = "upsampler") -> Tensor:
        """U(lr): (B, 3, h, w) -> (B, 3, 4h, 4w) about [0, 1]; as in the released chain, it is not clamped."""
        net = self.upsampler if start == "upsampler" and self.upsampler is not None else self.bicubic
        return net(lr)  # type: ignore[no-any-return]

    def condition(self, lr: Tensor, y0: Tensor) -> Tensor:
        """What the denoiser and the predictor see besides the state: the LR image in [-1, 1], and y_0 if they were
        built with room for it."""
        image = lr * 2 - 1
        if self.denoiser.config.cond_channels > image.shape[1]:  # type: ignore[union-attr,operator]
            return torch.cat([image, y0.to(image.dtype)], 1)
        return image

    def noise_source(self, kind: NoiseKind, condition: Tensor, temperature: float = 1.0) -> NoiseSource:
        """The noise of the intermediate steps; without a predictor, ``predicted`` means Gaussian."""
        if kind not in ("predicted", "mode", "gaussian"):
            raise ConfigError(f"noise = {kind!r}: choose predicted, mode or gaussian")
        predictor = self.noise_predictor
        if kind == "gaussian" or predictor is None:
            return GaussianNoise()

        def predict(x_t: Tensor, x0: Tensor, t: int) -> tuple[Tensor, Tensor]:
            return predictor(x_t, x0, condition, _index(x_t, t))  # type: ignore[no-any-return]

        return PredictedNoise(predict, temperature=0.0 if kind == "mode" else temperature)

    def sample(
        self,
        lr: Tensor,
        y0: Tensor,
        draw: Draw,
        *,
        steps: int | None = None,
        noise: NoiseKind | NoiseRecipe = "predicted",
        temperature: float = 1.0,
        callback: Callable[[StepState], None] | None = None,
    ) -> Tensor:
        """x_0 of the chain that starts at ``y0``; ``steps`` below the schedule's enter it late, as Table 1 does.

        A recipe as ``noise`` sets its own temperature.
        """
        condition = self.condition(lr, y0)

        def denoise(x: Tensor, t: int) -> Tensor:
            return self.denoiser(x, _index(x, t), condition)  # type: ignore[no-any-return]

        source = noise(condition, y0) if callable(noise) else self.noise_source(noise, condition, temperature)
        return reverse_chain(denoise, self.schedule, y0, source, draw, start=steps, callback=callback)

    def restore(
        self,
        lr: Tensor,
        draw: Draw,
        *,
        steps: int | None = None,
        noise: NoiseKind | NoiseRecipe = "predicted",
        temperature: float = 1.0,
        mean_share: float = 0.0,
        bicubic_share: float = 0.0,
        start: StartKind = "upsampler",
        callback: Callable[[StepState], None] | None = None,
    ) -> Tensor:
        """SR images (B, 3, 4h, 4w) in [0, 1] of ``lr`` (B, 3, h, w) in [0, 1].

        steps 0 returns the pre-upsampled image. ``mean_share`` blends x_0 towards the chain's first prediction of it,
        which sees the most noise and so comes closest to the conditional mean E[x_0 | lr]; ``bicubic_share`` blends the
        image into the bicubic upsampling, which invents nothing.
        """
        image = self.upsample(lr, start)
        if steps == 0:
            return image.clamp(0, 1)
        first: list[Tensor] = []

        def watch(state: StepState) -> None:
            if not first:
                first.append(state.x0)
            if callback:
                callback(state)

        y0 = self.encode(image).float()  # the chain's own arithmetic stays exact under autocast
        x0 = self.sample(lr, y0, draw, steps=steps, noise=noise, temperature=temperature, callback=watch)
        if mean_share > 0:
            x0 = torch.lerp(x0, first[0].to(x0.dtype), mean_share)
        sr = self.decode(x0)
        if bicubic_share > 0:
            sr = torch.lerp(sr, self.bicubic(lr).to(sr.dtype), bicubic_share)
        return sr.clamp(0, 1)


def _index(x: Tensor, t: int) -> Tensor:
    """The timestep index for every sample of ``x``."""
    return torch.full((len(x),), t, device=x.device, dtype=torch.long)
