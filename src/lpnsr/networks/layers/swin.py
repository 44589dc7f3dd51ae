"""Shifted-window attention (Liu et al., 2021) on feature maps of any size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr.networks.layers.basic import NormKind, is_tracing, make_norm
from lpnsr.networks.layers.padding import pad_to_multiple

MaskKind = Literal["released", "full"]
MASKED = -100.0  # added to the score of two positions that are neighbours only because of the shift


@dataclass(frozen=True)
class SwinShape:
    """Sizes that all Swin layers of a network share."""

    embed_dim: int
    depth: int
    head_channels: int
    window: int
    mlp_ratio: float
    norm: NormKind
    mask: MaskKind


def relative_position_index(window: int) -> Tensor:
    """Return the row of the bias table for every pair of positions in a window: int64 (window^2, window^2)."""
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    down = rows[:, None] - rows[None, :] + window - 1
    across = columns[:, None] - columns[None, :] + window - 1
    return down * (2 * window - 1) + across


def window_mask(height: int, width: int, window: int, kind: MaskKind, device: torch.device | None = None) -> Tensor:
    """Return scores to add in each window of a (height, width) map rolled up and left by half a window.

    float32 (windows, window^2, window^2), 0 for positions that see each other and -100 for the others.
    ``height`` and ``width`` are multiples of ``window``. In "full", positions see each other if they come
    from the same side of both seams. "released" is what the released checkpoints were trained with: it
    parts the left from the right half of each window in the last row of windows, and nothing else, so the
    seams themselves stay open. Their outputs are only reproduced with it.
    """
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)[None, :]
    shift = window // 2
    if kind == "full":
        region = 2 * (rows >= height - shift).long() + (columns >= width - shift).long()
    else:
        region = (rows >= height - window).long() * (columns % window >= shift).long()
    region = region.view(height // window, window, width // window, window)
    region = region.transpose(1, 2).reshape(-1, window * window)
    return MASKED * (region[:, :, None] != region[:, None, :]).float()


@lru_cache(maxsize=8)
def _cached_mask(
    height: int, width: int, window: int, kind: MaskKind, device: torch.device, dtype: torch.dtype
) -> Tensor:
    return window_mask(height, width, window, kind, device)[:, None].to(dtype)  # made there: nothing waits


def _mask(height: int, width: int, window: int, kind: MaskKind, like: Tensor) -> Tensor:
    if is_tracing():  # a graph makes it for every size that it is given
        return window_mask(height, width, window, kind)[:, None].to(like)
    return _cached_mask(height, width, window, kind, like.device, like.dtype)


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias for each relative position."""

    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def bias(self) -> Tensor:
        """Return (1, heads, N, N) for the N positions of a window."""
        table = self.relative_position_bias_table[self.relative_position_index]  # (N, N, heads)
        return table.permute(2, 0, 1)[None]

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map ``x`` (B, windows, N, C), ``mask`` (windows, 1, N, N) or None -> (B, windows, N, C)."""
        batch, windows, tokens, channels = x.shape
        shape = (batch, windows, tokens, 3, self.heads, channels // self.heads)
        q, k, v = self.qkv(x).view(shape).permute(3, 0, 1, 4, 2, 5)  # each (B, windows, heads, N, d)
        scores = self.bias().to(q.dtype)
        if mask is not None:
            scores = scores + mask.to(q.dtype)
        if mask is None or (batch == 1 and not is_tracing()):  # four dimensions reach the fused kernels
            q, k, v = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=scores)
        return self.proj(out.transpose(-3, -2).reshape(x.shape))  # type: ignore[no-any-return]


class ConvMlp(nn.Module):
    """Two 1x1 convolutions with GELU between them."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class SwinBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), on (B, C, h, w) with h and w multiples of the window.

    ``resolution`` is the size of the map that the released checkpoints were built for. It shapes the
    stored ``attn_mask`` and nothing else: the mask in use follows the input.
    """

    def __init__(self, shape: SwinShape, resolution: int, shifted: bool) -> None:
        super().__init__()
        self.window = shape.window
        self.shift = shape.window // 2 if shifted else 0
        self.mask: MaskKind = shape.mask
        channels = shape.embed_dim
        if shifted:
            side = resolution + -resolution % shape.window
            self.register_buffer("attn_mask", window_mask(side, side, shape.window, shape.mask))
        self.norm1 = make_norm(shape.norm, channels)
        self.attn = WindowAttention(channels, channels // shape.head_channels, shape.window)
        self.norm2 = make_norm(shape.norm, channels)
        self.mlp = ConvMlp(channels, round(channels * shape.mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]

    def _attend(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        side = self.window
        grid = (height // side, width // side)
        x = x.permute(0, 2, 3, 1)  # (B, h, w, C)
        mask = None
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
            mask = _mask(height, width, side, self.mask, x)
        x = x.reshape(batch, grid[0], side, grid[1], side, channels).transpose(2, 3)
        x = self.attn(x.reshape(batch, grid[0] * grid[1], side * side, channels), mask)
        x = x.view(batch, *grid, side, side, channels).transpose(2, 3).reshape(batch, height, width, channels)
        if self.shift:
            x = x.roll((self.shift, self.shift), dims=(1, 2))
        return x.permute(0, 3, 1, 2)


class PointwiseProjection(nn.Module):
    """A 1x1 convolution under the name that the released checkpoints give it."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)  # type: ignore[no-any-return]


class SwinLayer(nn.Module):
    """``depth`` Swin blocks at their own width; every second one has shifted windows.

    (B, C, h, w) -> (B, C, h, w) for any h, w >= 1: the map is padded to whole windows and cropped again.
    Where ``resolution`` is a single window, no block is shifted.
    """

    def __init__(self, channels: int, resolution: int, shape: SwinShape) -> None:
        super().__init__()
        self.window = shape.window
        self.patch_embed = PointwiseProjection(channels, shape.embed_dim)
        self.patch_unembed = PointwiseProjection(shape.embed_dim, channels)
        self.blocks = nn.ModuleList(
            SwinBlock(shape, resolution, shifted=index % 2 == 1 and resolution > shape.window)
            for index in range(shape.depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        x, (height, width) = pad_to_multiple(x, self.window)
        x = self.patch_embed(x)
        for block in self.blocks:
            x = block(x)
        return self.patch_unembed(x)[..., :height, :width]  # type: ignore[no-any-return]
