"""The header of an upload against the limits, before it takes a place in the queue."""

from __future__ import annotations

import re
from pathlib import Path

from lpnsr.apps.jobs.errors import TooLargeError
from lpnsr.apps.jobs.settings import JobOptions, Limits
from lpnsr.errors import ImageTooLargeError, InputError
from lpnsr.imaging import check_size
from lpnsr.imaging.reading import header_size


def inspect(
    path: Path, name: str, options: JobOptions, limits: Limits, scale: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) of the upright image in ``path`` and of its result; nothing is decoded.

    name: what messages call the file. scale: of the model. Raises InputError if it is empty, ImageReadError for what is
    no image, TooLargeError for too many pixels, ConfigError for a size that cannot be made, OutputError for one that
    the format cannot hold.
    """
    if path.stat().st_size == 0:
        raise InputError(f"{name}: the file is empty (0 bytes)")
    try:
        size = header_size(path, name, limits.max_pixels)
    except ImageTooLargeError as error:
        what = str(error).partition(", more than")[0]
        raise TooLargeError(f"{what}, and {limits.max_pixels:,} is the limit; send a smaller image") from None
    height, width = options.output_size(size, scale)
    if height * width > limits.result_pixels:
        raise TooLargeError(
            f"{name}: the result would have {width} x {height} pixels, and {limits.result_pixels:,} is the limit; ask "
            "for a smaller size"
        )
    check_size(f"result{options.extension}", height, width)
    return size, (height, width)


def renamed(text: object, path: Path, name: str) -> str:
    """Return a message with the client's name of the image in place of ``path`` and of every path below it."""
    return re.sub(rf"{re.escape(str(path))}([/\\][\w.-]*\w)*", lambda _: name, str(text))
