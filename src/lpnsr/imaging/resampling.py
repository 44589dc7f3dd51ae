"""Output sizes, and one antialiased resampling for every kind of pixel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpnsr.errors import ConfigError
from lpnsr.imaging.photo import Array
from lpnsr.imaging.rows import rows_at_once
from lpnsr.imaging.window import Window


def output_size(
    size: tuple[int, int],
    *,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    max_side: int | None = None,
) -> tuple[int, int]:
    """Return (height, width) of the result for an input of ``size`` = (height, width).

    One of: scale; width or height (the other side follows in proportion) or both (exactly these, in whatever
    proportion); max_side, the longer side. Sides are rounded as Python's ``round`` does, exact halves to the even
    number, and are at least 1; ``scale`` counts as the decimal number it prints as. Raises ConfigError for
    anything else.
    """
    in_height, in_width = size
    chosen = [scale is not None, width is not None or height is not None, max_side is not None]
    if sum(chosen) != 1:
        raise ConfigError("give exactly one of: a scale, a width and/or height, a longest side")
    for label, value in (("scale", scale), ("width", width), ("height", height), ("longest side", max_side)):
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"{label} = {value}: a number above 0 is needed")
    if width is not None and height is not None:
        return height, width
    if scale is not None:
        factor = Fraction(str(scale))
    elif width is not None:
        factor = Fraction(width, in_width)
    elif height is not None:
        factor = Fraction(height, in_height)
    else:
        factor = Fraction(int(max_side or 1), max(size))
    return _rounded(factor * in_height), _rounded(factor * in_width)


def _rounded(side: Fraction) -> int:
    return max(1, round(side))


def resize(pixels: Array, size: tuple[int, int]) -> Array:
    """Resample (H, W) or (H, W, C) to ``size`` = (height, width): bicubic, antialiased when it shrinks.

    uint8 and uint16 are computed in float32, clipped and rounded; floats keep their range and type. A
    constant image stays exactly that constant in the integer types.
    """
    if pixels.shape[:2] == size:
        return pixels.copy()
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    rows = rows_at_once(4 * planes.shape[2] * max(size[1], planes.shape[1]))
    pieces = range(0, len(planes), rows)
    strips = (torch.from_numpy(planes[top : top + rows].astype(np.float32)).permute(2, 0, 1) for top in pieces)
    out = np.empty((*size, planes.shape[2]), pixels.dtype)
    top = 0
    for strip in resize_strips(strips, planes.shape[:2], size, rows=rows):
        if np.issubdtype(pixels.dtype, np.integer):
            strip.clamp_(0, np.iinfo(pixels.dtype).max).round_()
        out[top : top + strip.shape[1]] = strip.permute(1, 2, 0).numpy()
        top += strip.shape[1]
    return out[..., 0] if pixels.ndim == 2 else out


def resize_strips(
    strips: Iterable[Tensor], size: tuple[int, int], new_size: tuple[int, int], *, rows: int
) -> Iterator[Tensor]:
    """Resample an image (C, *size), float, that comes in strips of any heights; the result comes in strips of ``rows``,
    or as it came if the size stays.

    The strips leave no trace in the result, not in its last bit. Overshoots are not clipped.
    """
    if size == new_size:
        yield from strips
        return
    across, down = _taps(size[1], new_size[1]), _taps(size[0], new_size[0])
    window = Window(_weighted(strip, across, -1) for strip in strips)
    for top in range(0, new_size[0], rows):
        taps = [(index[top : top + rows], weight[top : top + rows]) for index, weight in down]
        first, last = int(taps[0][0].min()), int(taps[-1][0].max())
        window.forget(first)
        part = window.crop(first, last + 1)
        yield _weighted(part, [(index - first, weight) for index, weight in taps], -2)


def _taps(length: int, new_length: int) -> list[tuple[Tensor, Tensor]]:
    """Return per tap, of every new sample: the index of the sample it sees, in ascending order, and its float32 weight.

    Keys' cubic with a = -1/2, stretched by the factor of shrinking; beyond the edges the weights are shared out.
    """
    scale = length / new_length
    stretch = max(scale, 1.0)
    centre = (np.arange(new_length) + 0.5) * scale
    first = np.floor(centre - 2 * stretch + 0.5).astype(np.int64)
    index = first[:, None] + np.arange(int(np.ceil(4 * stretch)) + 1)
    weight = _cubic((index + 0.5 - centre[:, None]) / stretch) * ((index >= 0) & (index < length))
    weight /= weight.sum(1, keepdims=True)
    index = index.clip(0, length - 1)
    taps = zip(index.T, weight.T.astype(np.float32), strict=True)
    return [(torch.from_numpy(seen.copy()), torch.from_numpy(share.copy())) for seen, share in taps]


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _weighted(x: Tensor, taps: list[tuple[Tensor, Tensor]], dim: int) -> Tensor:
    """Return the weighted sum of what the taps see along ``dim``."""
    out = torch.zeros(())
    for index, weight in taps:
        seen = x.index_select(dim, index).mul_(weight if dim == -1 else weight[:, None])
        out = seen if out.ndim == 0 else out.add_(seen)
    return out
