"""Discriminators: on the features of a frozen network, a U-Net that judges every 2x2 pixel cell, and a PatchGAN.

They give a list of logit maps (B, 1, h', w'); positive means real. All convolutions but the last are spectrally
normalised.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization


class SpectralNorm(nn.Module):
    """W / sigma(W), the largest singular value by one power iteration a call in training (Miyato et al. 2018).

    Always in float32: autocast would do the power iteration in bfloat16, and sigma would carry its rounding.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("u", F.normalize(torch.randn(len(matrix)), dim=0))
        self.register_buffer("v", F.normalize(matrix.T @ self.u, dim=0))
        for _ in range(15):
            self._iterate(matrix)

    def _iterate(self, matrix: Tensor) -> None:
        self.v = F.normalize(matrix.T @ self.u, dim=0)
        self.u = F.normalize(matrix @ self.v, dim=0)

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            if self.training:
                with torch.no_grad():
                    self._iterate(matrix)
            return weight / (self.u @ matrix @ self.v)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2)
    register_parametrization(layer, "weight", SpectralNorm(layer.weight))
    return layer


def renew_spectral_norms(net: nn.Module) -> None:
    """Make the power iteration of a call of ``net`` in training, without the call."""
    for layer in net.modules():
        if is_parametrized(layer, "weight"):
            layer.weight  # noqa: B018 (computed when it is read)


class FeatureDiscriminator(nn.Module):
    """Small heads on the image and on feature maps of a frozen network (Projected GAN, Sauer et al. 2021).

    The features are there from the start, so it learns in fewer steps than a discriminator of its own.
    """

    def __init__(self, feature_channels: Sequence[int], channels: int = 64, in_channels: int = 3) -> None:
        super().__init__()
        c = channels
        self.pixel_head = nn.Sequential(
            nn.PixelUnshuffle(2),
            *(_conv(4 * in_channels, c, 3), nn.LeakyReLU(0.2)),
            *(_conv(c, c, 4, 2), nn.LeakyReLU(0.2)),
            *(_conv(c, c, 3), nn.LeakyReLU(0.2)),
            nn.Conv2d(c, 1, 1),
        )
        self.heads = nn.ModuleList(
            nn.Sequential(
                *(_conv(inputs, c, 1), nn.LeakyReLU(0.2)), *(_conv(c, c, 3), nn.LeakyReLU(0.2)), nn.Conv2d(c, 1, 1)
            )
            for inputs in feature_channels
        )

    def forward(self, image: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """image (B, C, H, W) in [-1, 1], even sides; features: a map (B, c, h, w) for each of ``feature_channels``."""
        logits = [self.pixel_head(image)]
        for head, feature in zip(self.heads, features, strict=True):
            unit = F.normalize(feature, dim=1, eps=1e-4) * feature.shape[1] ** 0.5
            logits.append(head(unit))
        return logits


class UNetDiscriminator(nn.Module):
    """Encoder-decoder with skips on the 2x pixel-unshuffled image: local and global evidence for every cell."""

    def __init__(self, channels: int = 32, in_channels: int = 3) -> None:
        super().__init__()
        c = channels
        self.stem = _conv(in_channels * 4, c, 3)
        self.down = nn.ModuleList([_conv(c, 2 * c, 4, 2), _conv(2 * c, 4 * c, 4, 2), _conv(4 * c, 8 * c, 4, 2)])
        self.up = nn.ModuleList([_conv(8 * c, 4 * c, 3), _conv(4 * c, 2 * c, 3), _conv(2 * c, c, 3)])
        self.out = nn.Sequential(_conv(c, c, 3), nn.LeakyReLU(0.2), nn.Conv2d(c, 1, 3, padding=1))

    def forward(self, image: Tensor, features: Sequence[Tensor] = ()) -> list[Tensor]:
        """(B, C, H, W) in [-1, 1], sides multiples of 16 -> [(B, 1, H/2, W/2)]; ``features`` are not looked at."""
        x = F.leaky_relu(self.stem(F.pixel_unshuffle(image, 2)), 0.2)
        skips = []
        for layer in self.down:
            skips.append(x)
            x = F.leaky_relu(layer(x), 0.2)
        for layer in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = F.leaky_relu(layer(x), 0.2) + skips.pop()
        return [self.out(x)]


class PatchDiscriminator(nn.Module):
    """PatchGAN: ``layers`` stride-2 convolutions, then two of stride 1 (Isola et al. 2017)."""

    def __init__(self, channels: int = 64, in_channels: int = 3, layers: int = 3) -> None:
        super().__init__()
        widths = [channels * min(2**i, 8) for i in range(layers + 1)]
        modules: list[nn.Module] = [_conv(in_channels, widths[0], 4, 2), nn.LeakyReLU(0.2)]
        for i in range(1, layers + 1):
            stride = 2 if i < layers else 1
            modules += [_conv(widths[i - 1], widths[i], 4, stride), nn.LeakyReLU(0.2)]
        modules.append(_conv(widths[-1], 1, 4))
        self.net = nn.Sequential(*modules)

    def forward(self, image: Tensor, features: Sequence[Tensor] = ()) -> list[Tensor]:
        """Map (B, C, H, W) -> [(B, 1, about H/2^layers, about W/2^layers)]; ``features`` are not looked at."""
        return [self.net(image)]
