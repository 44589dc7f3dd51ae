"""The header of an upload against the limits, before it takes a place in the queue."""

from __future__ import annotations

from pathlib import Path

from PIL import ExifTags, Image

from lpnsr.apps.jobs.errors import TooLargeError
from lpnsr.apps.jobs.settings import JobOptions, Limits
from lpnsr.errors import ImageReadError, LpnsrError
from lpnsr.imaging import FORMATS, check_size, read

_TURNED = (5, 6, 7, 8)


def inspect(path: Path, name: str, options: JobOptions, limits: Limits) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) of the upright image in ``path`` and of its result; nothing is decoded.

    name: what messages call the file. Raises ImageReadError for what is no image, TooLargeError for too many pixels,
    ConfigError for a size that cannot be made, OutputError for one that the format cannot hold.
    """
    size = _header_size(path, name, limits.max_pixels)
    if size[0] * size[1] > limits.max_pixels:
        raise _too_large(name, f"{size[1]} x {size[0]} = {size[0] * size[1]:,} pixels", limits.max_pixels)
    result = options.output_size(size)
    if result[0] * result[1] > limits.result_pixels:
        raise TooLargeError(
            f"{name}: the result would have {result[1]} x {result[0]} pixels, and {limits.result_pixels:,} is the "
            "limit; ask for a smaller size"
        )
    check_size(f"result{options.extension}", *result)
    return size, result


def _header_size(path: Path, name: str, limit: int) -> tuple[int, int]:
    try:
        with Image.open(path, formats=list(FORMATS)) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in _TURNED
    except Image.DecompressionBombError:
        raise _too_large(name, "a huge number of pixels", limit) from None
    except Exception:  # decoders of damaged headers raise anything; the reader has words for it
        try:
            read(path, max_pixels=limit)
        except LpnsrError as error:
            raise ImageReadError(renamed(error, path, name)) from None
        raise ImageReadError(f"{name}: the image header is damaged") from None
    return (width, height) if turned else (height, width)


def renamed(error: LpnsrError, path: Path, name: str) -> str:
    """The sentence of ``error`` with the client's name of the file instead of where it lies here."""
    return str(error).replace(str(path), name)


def _too_large(name: str, what: str, limit: int) -> TooLargeError:
    return TooLargeError(f"{name}: its header declares {what}, and {limit:,} is the limit; send a smaller image")
