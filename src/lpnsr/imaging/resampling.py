"""Output sizes, and one antialiased resampling for every kind of pixel."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F

from lpnsr.errors import ConfigError
from lpnsr.imaging.photo import Array


def output_size(
    size: tuple[int, int],
    *,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    max_side: int | None = None,
) -> tuple[int, int]:
    """(height, width) of the result for an input of ``size`` = (height, width).

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
    constant image stays exactly that constant in the integer types. One channel is in work at a time.
    """
    if pixels.shape[:2] == size:
        return pixels.copy()
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    out = np.empty((*size, planes.shape[2]), pixels.dtype)
    for channel in range(planes.shape[2]):
        plane = torch.from_numpy(planes[..., channel].astype(np.float32))[None, None]
        plane = F.interpolate(plane, size=size, mode="bicubic", antialias=True, align_corners=False)
        if np.issubdtype(pixels.dtype, np.integer):
            plane = plane.clamp_(0, np.iinfo(pixels.dtype).max).round_()
        out[..., channel] = plane[0, 0].numpy()
    return out[..., 0] if pixels.ndim == 2 else out
