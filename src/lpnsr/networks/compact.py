"""The compact pre-upsampler: a two-scale convolutional network, 4x, cheap enough for a CPU.

    lr (B, 3, h, w) in [0, 1] -> (B, 3, 4h, 4w) about [0, 1]

The body works at LR and half LR resolution, the head at 2x and 4x. Features are enlarged by bilinear interpolation
alone: unlike a pixel shuffle, it cannot treat the places of a cell differently, and so leaves no grid where the
image is flat. The result is added to the bilinear upsampling of the input. No normalisation: the output at
a pixel depends on its neighbourhood only.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr.networks.layers.basic import EdgeConv2d, PaddingMode, add, convolve_to_shuffle, silu
from lpnsr.networks.layers.padding import pad_to_multiple
from lpnsr.system.config import StrictConfig


class CompactConfig(StrictConfig):
    """channels: at LR and at half LR resolution; blocks: on the way in, in the middle, on the way out."""

    type: Literal["compact"] = "compact"
    channels: tuple[int, int] = (64, 128)
    blocks: tuple[int, int, int] = (2, 4, 3)
    head_channels: tuple[int, int] = (32, 16)


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(x))), the second convolution starting at a tenth of its usual scale."""

    def __init__(self, channels: int, padding_mode: PaddingMode = "zeros") -> None:
        super().__init__()
        self.conv1 = EdgeConv2d(channels, channels, 3, padding=1, padding_mode=padding_mode)
        self.conv2 = EdgeConv2d(channels, channels, 3, padding=1, padding_mode=padding_mode)
        nn.init.kaiming_normal_(self.conv1.weight)
        nn.init.kaiming_normal_(self.conv2.weight)
        self.conv2.weight.data.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return add(x, self.conv2(silu(self.conv1(x))))


def residual_stack(channels: int, count: int, padding_mode: PaddingMode = "zeros") -> nn.Sequential:
    """Return ``count`` residual blocks in a row."""
    return nn.Sequential(*(ResidualBlock(channels, padding_mode) for _ in range(count)))


_ENLARGED = (
    ((0.75, 0.25, 0.0), (0.25, 0.75, 0.75), (0.0, 0.0, 0.25)),  # even positions: what each neighbour gets of each tap
    ((0.25, 0.0, 0.0), (0.75, 0.75, 0.25), (0.0, 0.25, 0.75)),  # odd ones
)


def convolve_enlarged(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a 3x3 ``conv`` with replicated edges to the enlargement of ``x``: (B, C, h, w) -> (B, out, 2h, 2w).

    The enlarged features are never made. Each of the four places of a 2 x 2 cell is a 3x3 convolution of ``x`` itself,
    with a mixture of the taps of ``conv``.
    """
    mix = conv.weight.new_tensor(_ENLARGED)  # (place, neighbour, tap)
    kernels = torch.einsum("pyu,qxv,oiuv->opqiyx", mix, mix, conv.weight).reshape(-1, conv.in_channels, 3, 3)
    bias = None if conv.bias is None else conv.bias.repeat_interleave(4)
    return convolve_to_shuffle(conv, x, kernels, bias)


class ResizeHead(nn.Module):
    """Features at LR resolution -> image at 4x by two bilinear enlargements with a convolution of each."""

    def __init__(self, channels: int, middle: int, last: int, padding_mode: PaddingMode = "zeros") -> None:
        super().__init__()
        self.reduce = EdgeConv2d(channels, middle, 3, padding=1, padding_mode=padding_mode)
        self.at_2x = EdgeConv2d(middle, middle, 3, padding=1, padding_mode="replicate")
        self.at_4x = EdgeConv2d(middle, last, 3, padding=1, padding_mode="replicate")
        self.to_image = EdgeConv2d(last, 3, 3, padding=1, padding_mode=padding_mode)

    def forward(self, x: Tensor) -> Tensor:
        x = silu(convolve_enlarged(self.at_2x, silu(self.reduce(x))))  # (B, middle, 2h, 2w)
        return self.to_image(silu(convolve_enlarged(self.at_4x, x)))  # (B, last, 4h, 4w) inside


class CompactUpsampler(nn.Module):
    """See the module's contract. Any height and width from 1 px."""

    role = "upsampler"
    scale = 4
    feature_channels = 0

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config = config
        wide, deep = config.channels
        self.stem = nn.Conv2d(3, wide, 3, padding=1)
        self.enter = residual_stack(wide, config.blocks[0])
        self.down = nn.Conv2d(wide, deep, 2, stride=2)
        self.middle = residual_stack(deep, config.blocks[1])
        self.up = nn.Conv2d(deep, wide, 1)
        self.leave = residual_stack(wide, config.blocks[2])
        self.head = ResizeHead(wide, *config.head_channels)

    def upsample(self, lr: Tensor) -> tuple[Tensor, None]:
        """Return U(lr), without features."""
        return self(lr), None

    def forward(self, lr: Tensor) -> Tensor:
        x, (height, width) = pad_to_multiple(lr, 2)
        outer = self.enter(self.stem(x * 2 - 1))  # (B, wide, h, w)
        inner = self.middle(self.down(outer))  # (B, deep, h/2, w/2)
        outer = self.leave(outer + F.interpolate(self.up(inner), scale_factor=2, mode="bilinear"))
        detail = self.head(outer)[..., : 4 * height, : 4 * width]
        by_planes = lr.contiguous()  # three channels that lie last take five times longer
        return F.interpolate(by_planes, scale_factor=4, mode="bilinear") + detail.to(lr.dtype)
