"""The time that upscaling takes on this machine, from a tile that is timed beforehand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lpnsr.upscaling.options import Options

if TYPE_CHECKING:
    from lpnsr.upscaling.upscaler import Upscaler

_WARM, _TIMED = 16, 64  # sides of the tiles, LR pixels
WORTH = 8 * _TIMED**2
"""LR pixels from which on the timed tile is short beside the work."""


def pixel_seconds(upscaler: Upscaler, options: Options) -> float:
    """Time the model, and return the seconds that an LR pixel of a tile takes."""
    import torch

    own = options.model_copy(update={"scale": None, "width": None, "height": None, "max_side": None, "tile": 0})
    for side in (_WARM, _TIMED):
        began = time.perf_counter()
        upscaler(torch.full((3, side, side), 0.5), **own.model_dump())
    return (time.perf_counter() - began) / _TIMED**2


def tile_pixels(upscaler: Upscaler, size: Sequence[int], options: Options) -> int:
    """LR pixels of all tiles of an image (height, width), overlaps included."""
    tile = upscaler.usual_tile if options.tile == "auto" else options.tile
    plan = upscaler.plan(size[0], size[1], tile)
    return len(plan) * plan.rows.size * plan.columns.size
