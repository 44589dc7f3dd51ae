"""Files -> photos row by row, so that no image has to fit into memory.

PNG and TIFF files are read in strips where their layout allows; what can only be decoded whole is laid on a disk then.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from lpnsr.imaging.codecs.headers import png_bit_depth
from lpnsr.imaging.codecs.png_rows import PngFile
from lpnsr.imaging.codecs.wide import is_wide
from lpnsr.imaging.metadata.exif import turned
from lpnsr.imaging.photo import Photo
from lpnsr.imaging.reading import (
    DEFAULT_MAX_PIXELS_OF_ROWS,
    GRAY_MODES,
    TRANSPOSED,
    Opened,
    arrays,
    check,
    decode,
    max_pixels_allowed,
    opened,
    told,
)
from lpnsr.imaging.rows import PhotoRows, rows_at_once, samples
from lpnsr.system.scratch import Scratch

HELD = 1 << 26
"""Bytes of pixels up to which an image is simply decoded."""
_BACK = {6: 8, 8: 6}  # the orientation that undoes another; the others undo themselves


def open_rows(
    path: str | os.PathLike[str],
    *,
    max_pixels: int | None = None,
    held: int = HELD,
    scratch: str | os.PathLike[str] | None = None,
) -> PhotoRows:
    """Read an image row by row; of up to ``held`` bytes of pixels, it is decoded at once, else when its first strip is
    asked for.

    max_pixels: see ``max_pixels_allowed``, 400 million by default. ``PhotoRows.decoding`` tells what memory that takes
    beside the strips. scratch: a folder for large images that can only be decoded whole, or are turned.
    Raises ImageReadError here and from the strips.
    """
    name, limit = os.fspath(path), max_pixels_allowed(max_pixels, DEFAULT_MAX_PIXELS_OF_ROWS)
    with opened(path, limit) as source:
        image, decoder = source.image, source.decoder
        bands = len(image.getbands()) if image is not None else decoder.pixel_bytes if decoder is not None else 4
        if source.width * source.height * bands <= held:
            return PhotoRows.of(decode(source))
        if decoder is not None:
            return _rows(source, decoder.kind, _decoder_strips(name, limit), scratch, decoder.decoding)
        assert image is not None
        if source.format == "PNG":
            check(source)
            png = PngFile(source.file)
            if not png.interlaced and not png.animated:
                dtype, transparent = np.dtype(np.uint16 if png.depth == 16 else np.uint8), image.has_transparency_data
                return _rows(source, (png.colour in (0, 4), dtype, transparent), _png_strips(name, limit), scratch)
        if is_wide(image, source.file) or (source.format == "TIFF" and source.orientation != 1):
            return PhotoRows.of(decode(source))
        kind = (image.mode in GRAY_MODES, np.dtype(np.uint8), image.has_transparency_data)
        decoding = image.height * image.width * _decoding_bytes(image)
        return _rows(source, kind, _decoded(name, limit), scratch, decoding)


def _rows(
    source: Opened,
    kind: tuple[bool, np.dtype[Any], bool],
    strips: Iterator[Photo],
    scratch: str | os.PathLike[str] | None,
    decoding: int = 0,
) -> PhotoRows:
    """Make upright rows of ``strips``, which are as they are stored; kind: see ``TiffFile.kind``."""
    guarded, carried = _guarded(strips, source.name), source.carried(1 if kind[0] else 3)
    rows = PhotoRows(source.height, source.width, *kind, guarded, **carried, decoding=decoding)
    return rows if source.orientation == 1 else _laid_down(rows, source.orientation, scratch)


def _png_strips(name: str, limit: int) -> Iterator[Photo]:
    def decoded(data: bytes) -> Photo:
        small = io.BytesIO(data)
        return decode(Opened.of(Image.open(small), name, small))

    with opened(name, limit, again=True) as source:
        yield from PngFile(source.file).strips(source.file, name, decoded)


def _decoder_strips(name: str, limit: int) -> Iterator[Photo]:
    with opened(name, limit, again=True) as source:
        assert source.decoder is not None
        yield from source.decoder.strips(source.info.get("icc_profile"))
        source.tell_of_others()


def _guarded(strips: Iterator[Photo], name: str) -> Iterator[Photo]:
    with told(name):
        yield from strips


def _decoding_bytes(image: Image.Image) -> int:
    """Return the memory a pixel that Pillow takes to decode a whole image."""
    if image.format in ("JPEG", "MPO"):
        return 4 + (6 if image.info.get("progressive") else 0)
    return 4 if image.format in ("BMP", "TIFF", "PPM") else 12


def _decoded(name: str, limit: int) -> Iterator[Photo]:
    """Yield strips of an image that Pillow decodes as a whole, in 8 bits."""
    with opened(name, limit, again=True) as source:
        image = source.image
        assert image is not None
        depth = png_bit_depth(source.file) if image.format == "PNG" else 8
        if image.format != "PNG":  # of which it was checked when it was opened
            check(source)
        image.load()
        if image.size != (source.width, source.height):
            raise ValueError(f"the header states {source.width} x {source.height} pixels, the data {image.size}")
        rows = rows_at_once(4 * image.width)
        for top in range(0, image.height, rows):
            yield Photo(*arrays(image.crop((0, top, image.width, min(image.height, top + rows))), depth, name))
        source.tell_of_others()


def _laid_down(rows: PhotoRows, turn: int, folder: str | os.PathLike[str] | None) -> PhotoRows:
    """Turn ``rows``, which are stored with the orientation ``turn``, upright on a disk."""
    height, width = (rows.width, rows.height) if turn in TRANSPOSED else (rows.height, rows.width)
    return replace(rows, height=height, width=width, strips=_from_disk(rows, (height, width), turn, folder))


def _from_disk(
    rows: PhotoRows, size: tuple[int, int], turn: int, folder: str | os.PathLike[str] | None
) -> Iterator[Photo]:
    scratch = Scratch((*size, rows.channels), rows.dtype, folder)
    stored = turned(scratch.array, _BACK.get(turn, turn))
    top = 0
    for strip in rows.strips:
        stored[top : top + strip.height] = samples(strip)
        top += strip.height
        scratch.release()
    count = rows_at_once(size[1] * rows.channels * rows.dtype.itemsize)
    for top in range(0, size[0], count):
        part = scratch.array[top : top + count].copy()
        scratch.release()
        if rows.transparent:
            yield Photo(np.ascontiguousarray(part[..., :-1]), np.ascontiguousarray(part[..., -1]))
        else:
            yield Photo(part)
