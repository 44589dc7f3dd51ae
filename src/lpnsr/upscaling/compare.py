"""Before and after, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lpnsr.imaging import Photo, PhotoRows, Window, eight_bit, flatten, resize_strips, rows_at_once
from lpnsr.imaging.metadata.extras import Extras


def before_after(before: PhotoRows, after: PhotoRows) -> PhotoRows:
    """Left ``before``, enlarged bicubically to the size of ``after``; right ``after``; white between. 8 bits."""
    divider = max(2, after.width // 100)
    return replace(
        after,
        width=2 * after.width + divider,
        dtype=np.dtype(np.uint8),
        transparent=False,
        exif=None,
        extras=Extras(colour=after.extras.colour),
        strips=_side_by_side(Window(_enlarged(before, (after.height, after.width))), before, after, divider),
    )


def _enlarged(rows: PhotoRows, size: tuple[int, int]) -> Iterator[Tensor]:
    """(1 | 3, n, W) in whole numbers; transparent parts are white."""
    strips = map(flatten, rows.strips)
    values = (torch.from_numpy(strip.pixels.astype(np.float32)).permute(2, 0, 1) for strip in strips)
    count = rows_at_once(4 * rows.channels * size[1])
    for strip in resize_strips(values, (rows.height, rows.width), size, rows=count):
        yield strip.clamp_(0, np.iinfo(rows.dtype).max).round_()


def _side_by_side(left: Window, before: PhotoRows, after: PhotoRows, divider: int) -> Iterator[Photo]:
    top = 0
    for strip in after.strips:
        bottom = top + strip.height
        values = left.crop(top, bottom).permute(1, 2, 0).numpy().astype(before.dtype)
        parts = [_opaque(Photo(values)), _opaque(strip)]
        white = np.full((strip.height, divider, parts[1].shape[2]), 255, np.uint8)
        yield Photo(np.concatenate([parts[0], white, parts[1]], 1))
        top = bottom
        left.forget(top)


def _opaque(photo: Photo) -> np.ndarray:
    return flatten(eight_bit(photo)).pixels
