"""Losses on the latent."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lpnsr.networks.perceptual import LPIPS
from lpnsr.training.losses.base import Comparison, Loss, LossRecipe, Weight, register_loss


@register_loss("mse", looks_at="truth")
def squared_error(seen: Comparison) -> Tensor:
    """Mean squared error of the latent, in units of the denoiser's own ``error_scale``."""
    unit = 1.0 if seen.outcome.unit is None else seen.outcome.unit
    return ((seen.latent - seen.true) / unit).square().mean()


@register_loss("moments", looks_at="latent")
def moments(seen: Comparison) -> Tensor:
    """Distance of each channel's mean from 0 and deviation from 1. It gives kappa a meaning where the scale is free."""
    z = seen.latent
    mean, square = (seen.average(m.mean((0, 2, 3))) for m in (z, z.square()))
    deviation = (square - mean.square()).clamp_min(1e-6).sqrt()
    return (mean.square() + (deviation - 1).square()).mean()


class CodebookRecipe(LossRecipe):
    """commitment: weight of the encoder's part."""

    commitment: Weight = 0.25


@register_loss("codebook")
class Codebook(Loss):
    """Mean squared error between latents and their nearest codes (VQ-VAE)."""

    Recipe = CodebookRecipe
    looks_at = "codes"

    def __init__(self, recipe: CodebookRecipe, lpips: LPIPS, latent_channels: int) -> None:
        super().__init__(recipe, lpips, latent_channels)
        self.commitment = recipe.commitment

    def forward(self, seen: Comparison) -> Tensor:
        z, codes = seen.latent, seen.outcome.codes
        assert codes is not None
        return F.mse_loss(codes, z.detach()) + self.commitment * F.mse_loss(z, codes.detach())
