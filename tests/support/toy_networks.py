"""Networks of another package, of any scale: each is a configuration, a class and a call of ``register_network``."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr.networks import register_network
from lpnsr.system.config import StrictConfig


class ToyUpsamplerConfig(StrictConfig):
    type: Literal["toy_upsampler"] = "toy_upsampler"
    scale: int = 2


class ToyUpsampler(nn.Module):
    """Nearest neighbours and a convolution; the LR image is its feature map."""

    role = "upsampler"
    feature_channels = 3

    def __init__(self, config: ToyUpsamplerConfig) -> None:
        super().__init__()
        self.config = config
        self.scale = config.scale
        self.conv = nn.Conv2d(3, 3, 3, padding=1, padding_mode="replicate")
        nn.init.dirac_(self.conv.weight)

    def upsample(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        return self(lr), lr

    def forward(self, lr: Tensor) -> Tensor:
        return self.conv(F.interpolate(lr, scale_factor=self.scale))  # type: ignore[no-any-return]


class ToyAutoencoderConfig(StrictConfig):
    type: Literal["toy_autoencoder"] = "toy_autoencoder"
    factor: int = 2


class ToyAutoencoder(nn.Module):
    """Pixels into channels, which two convolutions mix."""

    role = "autoencoder"
    decodes_differences = True

    def __init__(self, config: ToyAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.factor = config.factor
        self.latent_channels = 3 * config.factor**2
        self.inward, self.outward = (nn.Conv2d(self.latent_channels, self.latent_channels, 1) for _ in range(2))

    def encode(self, image: Tensor) -> Tensor:
        return self.inward(F.pixel_unshuffle(image, self.factor))  # type: ignore[no-any-return]

    def decode(self, z: Tensor) -> Tensor:
        return F.pixel_shuffle(self.outward(z), self.factor)


register_network("toy_upsampler", ToyUpsamplerConfig, ToyUpsampler)
register_network("toy_autoencoder", ToyAutoencoderConfig, ToyAutoencoder)
