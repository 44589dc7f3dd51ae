"""The time that a batch is expected to take, before it begins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lpnsr.errors import LpnsrError
from lpnsr.imaging.reading import header_size, max_pixels_allowed
from lpnsr.upscaling.batch import BatchSettings, Task
from lpnsr.upscaling.estimate import WORTH, pixel_seconds, tile_pixels

if TYPE_CHECKING:
    from lpnsr.upscaling.upscaler import Upscaler

LONG, VERY_LONG = 10.0, 60.0
"""Seconds from which on the time is told, and from which on that of a faster model is told too."""
FASTEST = "lite"
_LOOKED_AT = 32  # images of a batch


def expected_seconds(upscaler: Upscaler, tasks: Sequence[Task], settings: BatchSettings) -> float:
    """Seconds that ``tasks`` are expected to take; 0 where they are not worth a measurement, or it fails."""
    some = tasks[:: math.ceil(len(tasks) / _LOOKED_AT)]
    sizes = list(_sizes(some, settings))
    pixels = sum(tile_pixels(upscaler, size, settings.options) for size in sizes) * len(tasks) / len(some)
    if pixels < WORTH:
        return 0.0
    with suppress(LpnsrError):  # memory may be short, which is told of the image that needs it
        return pixels * pixel_seconds(upscaler, settings.options)
    return 0.0


def faster(upscaler: Upscaler, seconds: float, settings: BatchSettings) -> str:
    """The words for how long the fastest model would take, where the wait is very long."""
    from lpnsr.upscaling.upscaler import Upscaler

    if seconds <= VERY_LONG or settings.model.model == FASTEST:
        return ""
    other = Upscaler.from_pretrained(**settings.model.model_dump() | {"model": FASTEST, "revision": None})
    options = settings.options
    with suppress(LpnsrError):  # it may lack what was asked for
        ratio = pixel_seconds(other, options) / pixel_seconds(upscaler, options)
        return f"; -n {FASTEST} would take {spoken(ratio * seconds)}" if ratio < 1 else ""
    return ""


def spoken(seconds: float) -> str:
    """A time, no more exact than it is known."""
    if seconds < 1:
        return "a moment"
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def _sizes(tasks: Sequence[Task], settings: BatchSettings) -> Iterator[tuple[int, int]]:
    """(height, width) of the images that can be read, and whose results are not there."""
    for task in tasks:
        if settings.skip_existing and task.target.exists():
            continue
        with suppress(LpnsrError):
            yield header_size(Path(task.source), str(task.source), max_pixels_allowed(settings.file.max_pixels, 2**62))
