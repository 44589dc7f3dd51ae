"""Four networks and a schedule make a restorer: LR batch -> SR batch. Knows no file, no tile and no loss.

Inference and end-to-end training call the same functions; both reach the one reverse chain of ``lpnsr.diffusion``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from lpnsr.diffusion import GaussianNoise, NoiseSource, PredictedNoise, Schedule, StepState, reverse_chain
from lpnsr.errors import ConfigError
from lpnsr.networks import BicubicConfig, BicubicUpsampler, Guide
from lpnsr.networks.roles import Autoencoder, Denoiser, NoisePredictor, Upsampler
from lpnsr.networks.swin_unet import timestep
from lpnsr.upscaling.options import NoiseKind as NoiseKind
from lpnsr.upscaling.options import StartKind as StartKind

Draw = Callable[[int, tuple[int, ...]], Tensor]
Upsample = Callable[[Tensor], tuple[Tensor, Tensor | None]]
NoiseRecipe = Callable[[Guide], NoiseSource]
"""Makes the noise source of a chain, for sources that are more than a name: oracle, mixtures."""


def fidelity_controls(fidelity: float) -> tuple[float, float]:
    """(noise temperature, mean weight) of a fidelity in [0, 1]; see ``Restorer.restore``.

    0..0.5 cools the predicted noise from a sample to its mode; 0.5..1 raises the weight of the conditional mean.
    """
    return max(0.0, 1 - 2 * fidelity), max(0.0, 2 * fidelity - 1)


class Restorer(nn.Module):
    """The parts of a model around its schedule; ``scale`` s is the sides of a result over those of its LR image.

    upsampler: (B, 3, h, w) in [0, 1] -> (B, 3, s h, s w); None starts from bicubic.
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
        self.scale = cast(Autoencoder, autoencoder).factor
        self.bicubic = BicubicUpsampler(BicubicConfig(scale=self.scale))
        self.upsampler = upsampler
        self.noise_predictor = noise_predictor

    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, s h, s w) in [0, 1] -> z (B, c, h, w)."""
        return cast(Autoencoder, self.autoencoder).encode(image * 2 - 1)

    def decode(self, z: Tensor) -> Tensor:
        """z (B, c, h, w) -> image (B, 3, s h, s w), about [0, 1]."""
        return (cast(Autoencoder, self.autoencoder).decode(z) + 1) / 2

    def upsample(self, lr: Tensor, start: StartKind = "upsampler") -> Tensor:
        """U(lr): (B, 3, h, w) -> (B, 3, s h, s w) about [0, 1]; as in the released chain, it is not clamped."""
        net = self.upsampler if start == "upsampler" and self.upsampler is not None else self.bicubic
        image: Tensor = net(lr)
        return image

    def start(
        self, lr: Tensor, kind: StartKind = "upsampler", upsample: Upsample | None = None
    ) -> tuple[Tensor, Guide]:
        """U(lr) (B, 3, s h, s w), as ``upsample`` gives it, and what guides the chain that starts there.

        A bicubic start has the features of the pre-upsampler too. Where results are decoded as differences to the
        start, it is clamped to [0, 1]. ``upsample`` takes the place of the pre-upsampler's, to keep its results.
        """
        net = self.bicubic if self.upsampler is None else self.upsampler
        features = None
        if kind == "upsampler" or self.denoiser.feature_channels:
            image, features = (upsample or cast(Upsampler, net).upsample)(lr)
        if kind == "bicubic":
            image = self.bicubic(lr)
        return self.start_at(image, lr, features)

    def start_at(self, image: Tensor, lr: Tensor, features: Tensor | None) -> tuple[Tensor, Guide]:
        """The same of a picture U(lr) and a feature map that are there already."""
        if self.autoencoder.decodes_differences:
            image = image.clamp(0, 1)
        y0 = self.encode(image).float()  # the chain's own arithmetic stays exact under autocast
        return image, Guide(lr, y0, features)

    def finish(self, x0: Tensor, image: Tensor, guide: Guide, kept: float = 1.0) -> Tensor:
        """The result (B, 3, s h, s w), about [0, 1], of a chain that began with ``start`` and ended at ``x0``.

        D(x_0); or, from an autoencoder that decodes differences, D(x_0) + kept (U(lr) - D(y_0)), which is the start
        itself where the chain changes nothing and all is ``kept``.
        """
        result = self.decode(x0)
        if kept == 0 or not self.autoencoder.decodes_differences:
            return result
        return kept * image + (result - kept * self.decode(guide.y0)).to(image.dtype)

    def noise_source(self, kind: NoiseKind, guide: Guide, temperature: float = 1.0) -> NoiseSource:
        """The noise of the intermediate steps; without a predictor, ``predicted`` means Gaussian."""
        if kind not in ("predicted", "mode", "gaussian"):
            raise ConfigError(f"noise = {kind!r}: choose predicted, mode or gaussian")
        predictor = cast("NoisePredictor | None", self.noise_predictor)
        if kind == "gaussian" or predictor is None:
            return GaussianNoise()

        def predict(state: StepState) -> tuple[Tensor, Tensor]:
            return predictor.predict(state, guide)

        return PredictedNoise(predict, temperature=0.0 if kind == "mode" else temperature)

    def sample(
        self,
        guide: Guide,
        draw: Draw,
        *,
        steps: int | None = None,
        noise: NoiseKind | NoiseRecipe = "predicted",
        temperature: float = 1.0,
        callback: Callable[[StepState], None] | None = None,
    ) -> Tensor:
        """x_0 of the chain of ``guide``; ``steps`` below the schedule's enter it late, as Table 1 does.

        A recipe as ``noise`` sets its own temperature.
        """

        def denoise(x: Tensor, label: int) -> Tensor:
            return cast(Denoiser, self.denoiser).denoise(x, timestep(label, x), guide, self.schedule)

        source = noise(guide) if callable(noise) else self.noise_source(noise, guide, temperature)
        return reverse_chain(denoise, self.schedule, guide.y0, source, draw, start=steps, callback=callback)

    def restore(
        self,
        lr: Tensor,
        draw: Draw,
        *,
        steps: int | None = None,
        noise: NoiseKind | NoiseRecipe = "predicted",
        temperature: float = 1.0,
        mean_weight: float = 0.0,
        start: StartKind = "upsampler",
        callback: Callable[[StepState], None] | None = None,
    ) -> Tensor:
        """SR images (B, 3, s h, s w) in [0, 1] of ``lr`` (B, 3, h, w) in [0, 1].

        steps 0 returns the pre-upsampled image. ``mean_weight`` blends x_0 towards the chain's first prediction of it,
        which sees the most noise and so comes closest to the conditional mean E[x_0 | lr]. With it, what U(lr) has and
        D(y_0) has not fades (see ``finish``).
        """
        if steps == 0:
            return self.upsample(lr, start).clamp(0, 1)
        return self.refine(
            *self.start(lr, start),
            draw,
            steps=steps,
            noise=noise,
            temperature=temperature,
            mean_weight=mean_weight,
            callback=callback,
        )

    def refine(
        self,
        image: Tensor,
        guide: Guide,
        draw: Draw,
        *,
        steps: int | None = None,
        noise: NoiseKind | NoiseRecipe = "predicted",
        temperature: float = 1.0,
        mean_weight: float = 0.0,
        callback: Callable[[StepState], None] | None = None,
    ) -> Tensor:
        """Run the chain from ``image`` and ``guide``, as ``start`` gives them; see ``restore``."""
        first: list[Tensor] = []

        def watch(state: StepState) -> None:
            if not first:
                first.append(state.x0)
            if callback:
                callback(state)

        x0 = self.sample(guide, draw, steps=steps, noise=noise, temperature=temperature, callback=watch)
        if mean_weight > 0:
            x0 = torch.lerp(x0, first[0].to(x0.dtype), mean_weight)
        return self.finish(x0, image, guide, kept=1 - mean_weight).clamp(0, 1)


class StartAlone(Restorer):
    """A pre-upsampler without a chain: ``restore`` is its image, whatever the steps."""

    def __init__(self, upsampler: nn.Module) -> None:
        nn.Module.__init__(self)
        self.schedule = Schedule.geometric()
        self.scale = cast(Upsampler, upsampler).scale
        self.bicubic = BicubicUpsampler(BicubicConfig(scale=self.scale))
        self.upsampler = upsampler
        for name in ("autoencoder", "denoiser", "noise_predictor"):
            self.register_module(name, None)

    def restore(self, lr: Tensor, draw: Draw, *, start: StartKind = "upsampler", **_of_the_chain: Any) -> Tensor:
        """Return U(lr) (B, 3, s h, s w), clamped to [0, 1]."""
        return self.upsample(lr, start).clamp(0, 1)
