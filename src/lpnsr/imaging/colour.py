"""Colour fixes: a restored image takes over the colours of the image it was made from.

Both work on whole images of any size, strip by strip, and give the same result bit for bit whatever the strips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from lpnsr.errors import InputError
from lpnsr.imaging.window import Window

Part = Callable[[int, int, int, int], Tensor]
"""Of (top, bottom, left, right), that part of an image (..., H, W)."""

LEVELS = 5
HALO = 2**LEVELS - 1
"""Rows and columns that the wavelet fix sees beyond its own."""
_COLUMNS = 2048


def wavelet_colour_fix(sr: Tensor, reference: Tensor, levels: int = LEVELS, *, rows: int = 256) -> Tensor:
    """Put the high frequencies of ``sr`` on the low frequencies of ``reference``.

    sr, reference: (B, 3, H, W), any range, best [0, 1]; the result has the same range but is not clipped. The
    low frequencies L(x) are ``levels`` blurs in a row with the kernel [1 2 1; 2 4 2; 1 2 1]/16, the i-th
    dilated by 2^i, edges repeated. L is linear, so  sr - L(sr) + L(reference) = sr + L(reference - sr).
    Raises InputError for unequal shapes.
    """
    if sr.shape != reference.shape:
        raise InputError(f"colour fix of {tuple(sr.shape)} by {tuple(reference.shape)}: equal shapes are needed")

    def part(top: int, bottom: int, left: int, right: int) -> Tensor:
        return reference[..., top:bottom, left:right]

    size = (sr.shape[-2], sr.shape[-1])
    return torch.cat(list(wavelet_strips(torch.split(sr, rows, -2), part, size, levels, rows=rows)), -2)


def wavelet_strips(
    strips: Iterable[Tensor], reference: Part, size: tuple[int, int], levels: int = LEVELS, *, rows: int = 256
) -> Iterator[Tensor]:
    """Apply ``wavelet_colour_fix`` to an image (..., height, width) = (..., *size) in strips of any heights.

    The result comes in strips of ``rows``, each once the 2^levels - 1 rows below it have come. ``reference`` is asked
    for parts whose top never moves up.
    """
    height, width = size
    halo = 2**levels - 1
    window = Window(strips)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        start, stop = max(0, top - halo), min(height, bottom + halo)
        window.forget(start)
        parts = []
        for left in range(0, width, _COLUMNS):  # few enough to stay in a processor's cache
            right = min(width, left + _COLUMNS)
            first, last = max(0, left - halo), min(width, right + halo)
            part = window.crop(start, stop, first, last)
            low = reference(start, stop, first, last) - part
            for level in range(levels):
                low = _blur(_blur(low, 2**level, -1), 2**level, -2)
            inner = (..., slice(top - start, bottom - start), slice(left - first, right - first))
            parts.append(part[inner] + low[inner])
        yield torch.cat(parts, -1)


def _blur(x: Tensor, distance: int, dim: int) -> Tensor:
    """Return [1 2 1]/4 along ``dim`` with taps ``distance`` apart. Slices, not a convolution: rows must not
    influence each other's rounding.
    """
    size = x.shape[dim]
    reach = min(distance, size)
    blurred, rest = x * 0.5, size - reach
    blurred.narrow(dim, reach, rest).add_(x.narrow(dim, 0, rest), alpha=0.25)
    blurred.narrow(dim, 0, reach).add_(x.narrow(dim, 0, 1), alpha=0.25)
    blurred.narrow(dim, 0, rest).add_(x.narrow(dim, reach, rest), alpha=0.25)
    blurred.narrow(dim, rest, reach).add_(x.narrow(dim, size - 1, 1), alpha=0.25)
    return blurred


def adain_colour_fix(sr: Tensor, reference: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Give every channel of ``sr`` the mean and standard deviation of the same channel of ``reference``.

    sr (B, C, H, W), reference (B, C, h, w) of any size, best in [0, 1]; not clipped.
    (sr - mean(sr)) / std(sr) * std(reference) + mean(reference), with eps added to both variances.
    Raises InputError if batch or channels differ.
    """
    if sr.shape[:2] != reference.shape[:2]:
        raise InputError(f"colour fix of {tuple(sr.shape)} by {tuple(reference.shape)}: batch and channels differ")
    return torch.stack(
        [adain_fix(ChannelSums([a]), ChannelSums([b]), eps)(a) for a, b in zip(sr, reference, strict=True)]
    )


class ChannelSums:
    """Mean and variance of the channels of an image (C, H, W), gathered row by row in float64."""

    def __init__(self, strips: Iterable[Tensor] = ()) -> None:
        self._rows = 0.0
        self._sum = self._squares = np.zeros(1)
        for strip in strips:
            self.add(strip)

    def add(self, strip: Tensor) -> None:
        """Count in a strip (C, n, W)."""
        values = np.ascontiguousarray(strip.cpu().numpy(), np.float64)
        for row in range(values.shape[1]):  # one by one: the strips leave no trace in the rounding
            self._sum = self._sum + values[:, row].mean(-1)
            self._squares = self._squares + np.square(values[:, row]).mean(-1)
        self._rows += values.shape[1]

    @property
    def mean(self) -> Tensor:
        """(C, 1, 1), float64."""
        return torch.from_numpy(self._sum / self._rows)[:, None, None]

    @property
    def variance(self) -> Tensor:
        """(C, 1, 1), float64."""
        return (torch.from_numpy(self._squares / self._rows)[:, None, None] - self.mean**2).clamp_(min=0)


def adain_fix(sr: ChannelSums, reference: ChannelSums, eps: float = 1e-5) -> Callable[[Tensor], Tensor]:
    """Return what ``adain_colour_fix`` does, as a function of a strip (C, n, W)."""
    gain = ((reference.variance + eps) / (sr.variance + eps)).sqrt()
    shift = reference.mean - sr.mean * gain
    return lambda strip: strip * gain.to(strip.dtype) + shift.to(strip.dtype)
