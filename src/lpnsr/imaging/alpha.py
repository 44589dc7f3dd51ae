"""Colours where there are none: under transparent pixels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lpnsr.imaging.photo import Array


def fill_transparent(pixels: Array, alpha: Array) -> Array:
    """Replace the colours of fully transparent pixels by a smooth continuation of those around them.

    Whatever a file stores there (mostly black) would leave a dark fringe once the image is resampled or
    restored. pixels (H, W, C) and alpha (H, W), uint8 or uint16, straight. Visible pixels come back
    unchanged, and so does an image without any. Push-pull: averages of the visible pixels are formed on ever
    coarser levels, and each level's gaps are filled from the one above it.
    """
    if not (alpha == 0).any() or not alpha.any():
        return pixels
    weight = torch.from_numpy(alpha.astype(np.float32))[None, None] / float(np.iinfo(alpha.dtype).max)
    colour = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
    filled = _push_pull(colour, weight)[0].permute(1, 2, 0).numpy()
    return np.where(alpha[..., None] > 0, pixels, np.rint(filled).astype(pixels.dtype))


def _push_pull(colour: Tensor, weight: Tensor) -> Tensor:
    """colour (1, C, h, w) with weight (1, 1, h, w) >= 0 -> colour, known where the weight was 0."""
    known = weight > 0
    if bool(known.all()) or max(weight.shape[-2:]) == 1:
        return colour
    total = F.avg_pool2d(weight, 2, ceil_mode=True)
    mean = F.avg_pool2d(colour * weight, 2, ceil_mode=True) / total.clamp(min=1e-12)
    coarse = _push_pull(mean, (total * 4).clamp(max=1))
    smooth = F.interpolate(coarse, size=colour.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(known, colour, smooth)
