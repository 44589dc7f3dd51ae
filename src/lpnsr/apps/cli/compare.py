"""Before and after, side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lpnsr.imaging import Photo, eight_bit, fill_transparent, flatten, resize


def before_after(before: Photo, after: Photo) -> Photo:
    """Left ``before``, enlarged bicubically to the size of ``after``; right ``after``; white between. 8 bits."""
    size = (after.height, after.width)
    pixels, alpha = before.pixels, before.alpha
    if alpha is not None:
        pixels, alpha = fill_transparent(pixels, alpha), resize(alpha, size)
    left = flatten(eight_bit(replace(before, pixels=resize(pixels, size), alpha=alpha))).pixels
    right = flatten(eight_bit(after)).pixels
    divider = np.full((after.height, max(2, after.width // 100), right.shape[2]), 255, np.uint8)
    return replace(after, pixels=np.concatenate([left, divider, right], 1), alpha=None, exif=None)
