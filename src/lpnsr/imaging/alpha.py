"""Colours where there are none: under transparent pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lpnsr.imaging.photo import Array, Photo
from lpnsr.imaging.rows import samples
from lpnsr.imaging.window import Window

_BLOCK, _CONTEXT = 256, 128  # pixels: the colours of a block follow from those this near to it


def fill_transparent(pixels: Array, alpha: Array) -> Array:
    """Replace the colours of transparent and of all but transparent pixels by a smooth continuation of those around.

    Whatever a file stores there (mostly black) would leave a dark fringe once the image is resampled or
    restored. pixels (H, W, C) and alpha (H, W), uint8 or uint16, straight. Visible pixels come back
    unchanged, and so do those with no visible one far and wide. Push-pull, block by block: averages of the visible
    pixels are formed on ever coarser levels, and each level's gaps are filled from the one above it.
    """
    if visible(alpha).all() or not visible(alpha).any():
        return pixels
    strips = fill_strips([Photo(pixels, alpha)], *alpha.shape)
    return np.concatenate([strip.pixels for strip in strips])


def visible(alpha: Array) -> Array:
    """Tell where the colour of a pixel makes a difference of more than three levels of 255."""
    seen: Array = alpha > np.iinfo(alpha.dtype).max // 64
    return seen


def fill_strips(strips: Iterable[Photo], height: int, width: int) -> Iterator[Photo]:
    """Apply ``fill_transparent`` to a photo with alpha that comes in strips of any heights."""
    window = Window(torch.from_numpy(samples(strip)).permute(2, 0, 1) for strip in strips)
    for top, bottom, start, stop in _blocks(height):
        window.forget(start)
        band = window.crop(start, stop).permute(1, 2, 0).numpy()
        pixels, alpha = band[..., :-1], band[..., -1]
        out = pixels[top - start : bottom - start].copy()
        for left, right, first, last in _blocks(width):
            inner = np.s_[top - start : bottom - start, left - first : right - first]
            out[:, left:right] = _filled(pixels[:, first:last], alpha[:, first:last], inner)
        yield Photo(out, np.ascontiguousarray(alpha[top - start : bottom - start]))


def _blocks(length: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield begin and end of every block, and of the context around it."""
    for begin in range(0, length, _BLOCK):
        end = min(length, begin + _BLOCK)
        yield begin, end, max(0, begin - _CONTEXT), min(length, end + _CONTEXT)


def _filled(pixels: Array, alpha: Array, inner: tuple[slice, slice]) -> Array:
    """Return the ``inner`` part of ``pixels``, filled."""
    seen = visible(alpha)
    if seen[inner].all() or not seen.any():
        return pixels[inner]
    weight = torch.from_numpy((alpha * seen).astype(np.float32))[None, None] / float(np.iinfo(alpha.dtype).max)
    colour = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
    filled = _push_pull(colour, weight)[0].permute(1, 2, 0).numpy()[inner]
    return np.where(seen[inner][..., None], pixels[inner], np.rint(filled).astype(pixels.dtype))


def _push_pull(colour: Tensor, weight: Tensor) -> Tensor:
    """Fill colour (1, C, h, w) where the weight (1, 1, h, w) >= 0 is 0."""
    known = weight > 0
    if bool(known.all()) or max(weight.shape[-2:]) == 1:
        return colour
    total = F.avg_pool2d(weight, 2, ceil_mode=True)
    mean = F.avg_pool2d(colour * weight, 2, ceil_mode=True) / total.clamp(min=1e-12)
    coarse = _push_pull(mean, (total * 4).clamp(max=1))
    smooth = F.interpolate(coarse, size=colour.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(known, colour, smooth)
