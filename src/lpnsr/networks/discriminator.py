"""Discriminators: a U-Net that judges every 2x2 pixel cell (image), and a PatchGAN (image or latent).

Both map (B, C, H, W) to logits (B, 1, h', w'); positive means real. All convolutions are spectrally normalised.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2))


class UNetDiscriminator(nn.Module):
    """Encoder-decoder with skips on the 2x pixel-unshuffled image: local and global evidence for every cell."""

    def __init__(self, channels: int = 32, in_channels: int = 3) -> None:
        super().__init__()
        c = channels
        self.stem = _conv(in_channels * 4, c, 3)
        self.down = nn.ModuleList(
            [_conv(c, 2 * c, 4, 2), _conv(2 * c, 4 * c, 4, 2), _conv(4 * c, 8 * c, 4, 2)]
        )
        self.up = nn.ModuleList([_conv(8 * c, 4 * c, 3), _conv(4 * c, 2 * c, 3), _conv(2 * c, c, 3)])
        self.out = nn.Sequential(_conv(c, c, 3), nn.LeakyReLU(0.2), nn.Conv2d(c, 1, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W), sides multiples of 16 -> (B, 1, H/2, W/2)."""
        x = F.leaky_relu(self.stem(F.pixel_unshuffle(image, 2)), 0.2)
        skips = []
        for layer in self.down:
            skips.append(x)
            x = F.leaky_relu(layer(x), 0.2)
        for layer in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = F.leaky_relu(layer(x), 0.2) + skips.pop()
        return self.out(x)


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

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 1, about H/2^layers, about W/2^layers)."""
        return torch.as_tensor(self.net(x))
