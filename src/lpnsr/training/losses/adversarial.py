"""The hinge GAN: a discriminator that learns beside the stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from lpnsr.networks.discriminator import FeatureDiscriminator, PatchDiscriminator, UNetDiscriminator
from lpnsr.networks.perceptual import LPIPS
from lpnsr.training.losses.base import Comparison, Loss, LossRecipe, Positive, register_loss

_TAPS_SEEN = 5  # the deeper taps repeat what these say
_IMAGE_CHANNELS = 3


class GanRecipe(LossRecipe):
    """Hinge GAN on the image, or on the latent.

    kind: ``feature`` sees the image and the feature maps of the LPIPS network, ``unet`` and ``patch`` the image alone.
    every: the discriminator learns at one of so many steps. alternate: the parts in training rest at those steps.
    adaptive: ``weight`` is times the ratio of the gradients that the other losses and this one leave at the last layer
    (VQGAN, Eq. 7). begin_with: an earlier stage, with a copy of whose discriminator this one begins.
    """

    kind: Literal["feature", "unet", "patch"] = "feature"
    channels: PositiveInt = 64
    learning_rate: Positive = 5e-4
    every: PositiveInt = 1
    alternate: bool = False
    adaptive: bool = False
    begin_with: str | None = None


class LatentGanRecipe(GanRecipe):
    """Hinge GAN on the latent, whose discriminator is a ``patch``."""

    kind: Literal["patch"] = "patch"


@register_loss("gan")
class Gan(Loss):
    """-mean(D(result)), against a discriminator that sees result and target through the same random view."""

    Recipe: ClassVar[type[LossRecipe]] = GanRecipe

    def __init__(self, recipe: GanRecipe, lpips: LPIPS, latent_channels: int) -> None:
        super().__init__(recipe, lpips, latent_channels)
        self.recipe: GanRecipe = recipe
        self.balanced = recipe.adaptive
        self.adversary = self.discriminator = self._discriminator(lpips, latent_channels)

    def _discriminator(self, lpips: LPIPS, latent_channels: int) -> nn.Module:
        if self.recipe.kind == "feature":
            return FeatureDiscriminator(lpips.channels[:_TAPS_SEEN], self.recipe.channels)
        kind = UNetDiscriminator if self.recipe.kind == "unet" else PatchDiscriminator
        return kind(self.recipe.channels, _IMAGE_CHANNELS)

    def _shown(self, seen: Comparison) -> tuple[list[Tensor], list[Tensor]]:
        """Result and target as the discriminator is given them."""
        fake, real = seen.views
        if self.recipe.kind != "feature":
            return [fake], [real]
        return [fake, *seen.taps[0][:_TAPS_SEEN]], [real, *seen.taps[1][:_TAPS_SEEN]]

    def forward(self, seen: Comparison) -> Tensor:
        self.discriminator.requires_grad_(False).eval()
        image, *features = self._shown(seen)[0]
        return hinge_generator(self.discriminator(image, features))

    def teach(self, seen: Comparison) -> Tensor:
        self.discriminator.requires_grad_(True).train()
        fake, real = self._shown(seen)
        image, *features = [torch.cat(pair).detach() for pair in zip(real, fake, strict=True)]
        logits = [map_.chunk(2) for map_ in self.discriminator(image, features)]
        return hinge_discriminator([pair[0] for pair in logits], [pair[1] for pair in logits])

    def learns(self, step: int) -> bool:
        return step % self.recipe.every == self.recipe.every - 1

    def rests(self, step: int) -> bool:
        return self.recipe.alternate and self.learns(step)


@register_loss("latent-gan")
class LatentGan(Gan):
    """The same on the latent of the result and the true one."""

    Recipe = LatentGanRecipe
    looks_at = "truth"

    def _discriminator(self, lpips: LPIPS, latent_channels: int) -> nn.Module:
        return PatchDiscriminator(self.recipe.channels, latent_channels)

    def _shown(self, seen: Comparison) -> tuple[list[Tensor], list[Tensor]]:
        return [seen.latent], [seen.true]


def hinge_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean over the logit maps of  mean(max(0, 1 - D(real))) + mean(max(0, 1 + D(fake)))."""
    each = [F.relu(1 - r.float()).mean() + F.relu(1 + f.float()).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(each).mean()


def hinge_generator(fake: Sequence[Tensor]) -> Tensor:
    """Mean over the logit maps of  -mean(D(fake))."""
    return -torch.stack([f.float().mean() for f in fake]).mean()
