"""Small pieces that several networks share."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormKind = Literal["group", "pixel"]
PaddingMode = Literal["zeros", "replicate"]


def in_eager_inference() -> bool:
    """Tell whether a network only computes: no gradient, no compiler, no export that would want one way for all."""
    return not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()


def is_tracing() -> bool:
    """Tell whether the exporter follows a forward: sizes then stay arithmetic, without branches on them."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]


def silu(x: Tensor) -> Tensor:
    """Compute x * sigmoid(x); where no gradient is wanted, in the place of ``x``, which nothing else needs."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def add(x: Tensor, fresh: Tensor) -> Tensor:
    """Compute x + fresh; where no gradient is wanted, in the place of ``fresh``, which nothing else needs."""
    return x + fresh if torch.is_grad_enabled() or fresh.dtype != x.dtype else fresh.add_(x)


class EdgeConv2d(nn.Conv2d):
    """nn.Conv2d that pads in the precision of its input: on a CPU, autocast would copy in float32."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.padding_mode == "zeros":
            return super()._conv_forward(input, weight, bias)
        widens = input.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        with torch.autocast("cpu", enabled=False) if widens else nullcontext():
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
        return F.conv2d(input, weight, bias, self.stride, 0, self.dilation, self.groups)


def convolve_to_shuffle(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``pixel_shuffle`` by 2 of what ``conv`` does with another weight (4 C, in, k, k) and bias:
    (B, in, h, w) -> (B, C, 2h, 2w).
    """
    if not (in_eager_inference() and x.is_contiguous(memory_format=torch.channels_last) and len(x) > 0):
        return pixel_shuffle(conv._conv_forward(x, weight, bias), 2)
    # With the four of a cell on the outside, shuffling channels that lie last moves C at a time: in bfloat16 6 to 10
    # times faster.
    weight = weight.view(-1, 4, *weight.shape[1:]).transpose(0, 1).flatten(0, 1)
    bias = None if bias is None else bias.view(-1, 4).t().flatten()
    cells = conv._conv_forward(x, weight, bias).permute(0, 2, 3, 1)  # (B, h, w, 4 C)
    batch, height, width, _ = cells.shape
    cells = cells.view(batch, height, width, 2, 2, -1).transpose(2, 3)
    return cells.reshape(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """Map (B, factor^2 C, h, w) -> (B, C, factor h, factor w), as ``F.pixel_shuffle``."""
    if not _by_planes_on_cpu(x):
        return F.pixel_shuffle(x, factor)
    batch, channels, height, width = x.shape
    cells = x.view(batch, channels // factor**2, factor, factor, height, width)
    return cells.permute(0, 1, 4, 2, 5, 3).reshape(batch, -1, factor * height, factor * width)


def pixel_unshuffle(x: Tensor, factor: int) -> Tensor:
    """Map (B, C, factor h, factor w) -> (B, factor^2 C, h, w), as ``F.pixel_unshuffle``."""
    if not _by_planes_on_cpu(x):
        return F.pixel_unshuffle(x, factor)
    batch, channels, height, width = x.shape
    cells = x.view(batch, channels, height // factor, factor, width // factor, factor)
    return cells.permute(0, 1, 3, 5, 2, 4).reshape(batch, -1, height // factor, width // factor)


def _by_planes_on_cpu(x: Tensor) -> bool:
    """Tell whether PyTorch's kernels for the two take four times what a copy of the permuted view takes."""
    return in_eager_inference() and x.device.type == "cpu" and x.is_contiguous() and len(x) > 0


class SiLU(nn.Module):
    """``silu`` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return silu(x)


class PixelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position of (B, C, h, w).

    Unlike group normalisation it gathers nothing over the image, so a pixel's result does not depend on
    how much of the image is seen with it.
    """

    def forward(self, x: Tensor) -> Tensor:
        if in_eager_inference() and x.dtype == torch.float32 and x.is_contiguous():
            return self._by_planes(x)
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _by_planes(self, x: Tensor) -> Tensor:
        """Normalise without changing the layout to channels last and back, which takes several times longer."""
        centred = x - x.mean(1, keepdim=True)
        scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + self.eps)
        return centred.mul_(scale).mul_(self.weight[:, None, None]).add_(self.bias[:, None, None])


class GroupNorm(nn.GroupNorm):
    """torch's, without its refusal of a single value a group (one channel of a 1x1 map)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


def make_norm(kind: NormKind, channels: int, eps: float = 1e-5) -> nn.Module:
    """Return the normalisation of (B, C, h, w) with ``weight`` and ``bias`` of shape (C,).

    "group" uses 32 groups, or as many as divide both 32 and the channels.
    """
    if kind == "pixel":
        return PixelNorm(channels, eps=eps)
    return GroupNorm(math.gcd(32, channels), channels, eps=eps)


class Downsample(nn.Module):
    """(B, C, h, w) -> (B, C, ceil(h / 2), ceil(w / 2)) by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)  # type: ignore[no-any-return]


class Upsample(nn.Module):
    """(B, C, h, w) -> (B, C, 2h, 2w): nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))  # type: ignore[no-any-return]


def timestep_embedding(t: Tensor, channels: int) -> Tensor:
    """Return the sinusoidal embedding of the indices ``t`` (B,) -> float32 (B, channels): cosines, then sines.

    The wavelengths grow geometrically from 2 pi to 10000 * 2 pi (Vaswani et al., 2017); an odd number of
    channels ends in a zero.
    """
    half = channels // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angles = t.float()[:, None] * torch.exp(-math.log(10000.0) * exponents)
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, channels % 2))
