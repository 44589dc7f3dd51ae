"""3x3 convolutions by Winograd's F(6x6, 3x3), a third of the multiplications, through PyTorch's NNPACK.

Only where nothing else changes: float32 on an x86 CPU, inference, stride 1, padding 1. Results differ from the direct
sum by about 5e-6 of their standard deviation (root mean square). NNPACK transforms all it is given at once, which would
take more memory than the maps themselves: large maps go through it in bands, cut where its tiles meet, which changes
no bit.
"""

from __future__ import annotations

import math
import platform
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr.networks.layers.basic import EdgeConv2d, in_eager_inference
from lpnsr.system.devices import has_amx

TILE = 6
"""Rows and columns of the output that are computed together."""
_BAND_BYTES = 64 << 20  # of transformed tiles
_FEWEST_TILES = 16  # below, transforming the kernels costs more than it saves
_FEWEST_CHANNELS = 8


@cache
def available() -> bool:
    """Tell whether this PyTorch and this processor have what is needed; asking makes NNPACK ready for use."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    known: Any = torch.backends.nnpack
    return x86 and hasattr(torch, "_nnpack_spatial_convolution") and bool(known.is_available())


@cache
def pays() -> bool:
    """Tell whether it is ``available``, and faster than the direct sum.

    Processors with AMX have two AVX-512 multipliers a core, so that the direct sum takes two thirds of the time of
    NNPACK, which knows AVX2. Asked of the processor's kind, not by a stopwatch: equal machines are to give equal bits.
    """
    return available() and not has_amx()


class WinogradConv2d(EdgeConv2d):
    """nn.Conv2d(..., 3, padding=1), faster under ``torch.inference_mode``; see the module's contract."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not _applies(input, weight) or not available():
            return super()._conv_forward(input, weight, bias)
        if self.padding_mode == "zeros":
            return winograd(input, weight, bias)
        padded = F.pad(input, (1, 1, 1, 1), mode=self.padding_mode)
        return winograd(padded, weight, bias, padding=0)


def _applies(x: Tensor, weight: Tensor) -> bool:
    return (
        in_eager_inference()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.ndim == 4
        and x.shape[1] >= _FEWEST_CHANNELS
        and math.ceil(x.shape[2] / TILE) * math.ceil(x.shape[3] / TILE) >= _FEWEST_TILES
    )


def winograd(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int = 1) -> Tensor:
    """Convolve ``x`` (B, C, h, w) with ``weight`` (out, C, 3, 3): (B, out, h, w), or without padding h - 2, w - 2.

    float32 on the CPU, where ``available()``.
    """
    batch, channels, height, width = x.shape
    rows, columns = height + 2 * padding - 2, width + 2 * padding - 2
    row_bytes = 4 * (channels + len(weight)) * columns * (TILE + 2) ** 2 // TILE**2
    band = max(1, _BAND_BYTES // (TILE * row_bytes)) * TILE
    if batch == 1 and rows <= band:
        return _nnpack(x, weight, bias, [padding, padding])
    out = x.new_empty(batch, len(weight), rows, columns)
    for sample in range(batch):
        for top in range(0, rows, band):
            bottom = min(rows, top + band)
            first, last = top - padding, bottom + 2 - padding  # the rows that it sees, some of them beyond the edge
            seen = x[sample : sample + 1, :, max(0, first) : min(height, last)]
            seen = F.pad(seen, (0, 0, max(0, -first), max(0, last - height)))
            out[sample, :, top:bottom] = _nnpack(seen, weight, bias, [0, padding])[0]
    return out


def _nnpack(x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
    convolve: Any = torch._nnpack_spatial_convolution  # type: ignore[attr-defined]
    return convolve(x.contiguous(), weight.contiguous(), bias, padding, [1, 1])


def use_winograd(net: nn.Module) -> None:
    """Turn the 3x3 convolutions of ``net`` into ``WinogradConv2d`` in place; weights and names stay."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and type(module) in (nn.Conv2d, EdgeConv2d) and _is_plain_3x3(module):
            module.__class__ = WinogradConv2d


def workspace_bytes(net: nn.Module) -> int:
    """Return the most bytes that NNPACK holds between calls: a band of tiles, and the largest transformed kernels."""
    kernels = [m.weight.shape[0] * m.weight.shape[1] for m in net.modules() if isinstance(m, WinogradConv2d)]
    return _BAND_BYTES + 4 * (TILE + 2) ** 2 * max(kernels) if kernels and available() else 0


def _is_plain_3x3(conv: nn.Conv2d) -> bool:
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
