"""Files -> photos row by row, so that no image has to fit into memory.

PNG and TIFF files are read in strips where their layout allows; what can only be decoded whole is laid on a disk then.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lpnsr.imaging.codecs.headers import check_jpeg, check_png, png_bit_depth
from lpnsr.imaging.codecs.png_rows import PngFile
from lpnsr.imaging.codecs.tiff_rows import TiffFile
from lpnsr.imaging.codecs.wide import is_wide
from lpnsr.imaging.metadata import turned
from lpnsr.imaging.photo import Photo
from lpnsr.imaging.reading import (
    DEFAULT_MAX_PIXELS_OF_ROWS,
    GRAY_MODES,
    TRANSPOSED,
    arrays,
    carried,
    decode,
    max_pixels_allowed,
    open_file,
    open_image,
    orientation,
    tell_of_others,
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
    """``read``, row by row. An image of up to ``held`` bytes of pixels is decoded at once, a larger one when its first
    strip is asked for.

    max_pixels: see ``max_pixels_allowed``, 400 million by default. ``PhotoRows.decoding`` tells what memory that takes
    beside the strips. scratch: a folder for large images that can only be decoded whole, or are turned.
    Raises ImageReadError here and from the strips.
    """
    name, limit = os.fspath(path), max_pixels_allowed(max_pixels, DEFAULT_MAX_PIXELS_OF_ROWS)
    with told(name), open_file(Path(name)) as file:
        image = open_image(file, name, limit)
        if image.width * image.height * len(image.getbands()) <= held:
            return PhotoRows.of(decode(image, file, name))
        if image.format == "PNG":
            check_png(file, image.size, name)
            png = PngFile(file)
            if not png.interlaced and not png.animated:
                return _png_rows(png, name, scratch)
        if image.format == "TIFF" and (tiff := _tiff(name)) is not None:
            kind = {"height": tiff.height, "width": tiff.width, "gray": tiff.gray, "dtype": tiff.dtype}
            return _rows(kind | {"transparent": tiff.transparent}, tiff.strips(), image, name)
        if is_wide(image, file, name) or (image.format == "TIFF" and orientation(image) != 1):
            return PhotoRows.of(decode(image, file, name))
        kind = {
            "height": image.height,
            "width": image.width,
            "gray": image.mode in GRAY_MODES,
            "dtype": np.dtype(np.uint8),
            "transparent": image.has_transparency_data,
            "decoding": image.height * image.width * _decoding_bytes(image),
        }
        return _laid_down(_rows(kind, _decoded(name, limit), image, name), orientation(image), scratch)


def _png_rows(png: PngFile, name: str, scratch: str | os.PathLike[str] | None) -> PhotoRows:
    def opened(data: bytes) -> Photo:
        small = io.BytesIO(data)
        return decode(Image.open(small), small, name)

    surroundings = png.sample()
    like = PhotoRows.of(opened(surroundings))
    rows = replace(like, height=png.height, width=png.width, strips=_guarded(png.strips(name, opened), name))
    turn = orientation(Image.open(io.BytesIO(surroundings)))
    return rows if turn == 1 else _laid_down(rows, turn, scratch)


def _tiff(name: str) -> TiffFile | None:
    """The TIFF file, if its rows can be read; what tifffile does not understand, others may."""
    with suppress(Exception):
        tiff = TiffFile(name)
        return tiff if tiff.readable else None
    return None


def _rows(kind: dict[str, Any], strips: Iterator[Photo], image: Image.Image, name: str) -> PhotoRows:
    return PhotoRows(**kind, strips=_guarded(strips, name), **carried(image, 1 if kind["gray"] else 3, name))


def _guarded(strips: Iterator[Photo], name: str) -> Iterator[Photo]:
    with told(name):
        yield from strips


def _decoding_bytes(image: Image.Image) -> int:
    """Memory a pixel that Pillow takes to decode a whole image."""
    if image.format in ("JPEG", "MPO"):
        return 4 + (6 if image.info.get("progressive") else 0)
    return 4 if image.format in ("BMP", "TIFF") else 12


def _decoded(name: str, limit: int) -> Iterator[Photo]:
    """Strips of an image that Pillow decodes as a whole, in 8 bits."""
    with open_file(Path(name)) as file:
        image = open_image(file, name, limit)
        depth = png_bit_depth(file) if image.format == "PNG" else 8
        if image.format in ("JPEG", "MPO"):
            check_jpeg(image.size, os.fstat(file.fileno()).st_size, name)
        image.load()
        rows = rows_at_once(4 * image.width)
        for top in range(0, image.height, rows):
            yield Photo(*arrays(image.crop((0, top, image.width, min(image.height, top + rows))), depth, name))
        tell_of_others(image, name)


def _laid_down(rows: PhotoRows, turn: int, folder: str | os.PathLike[str] | None) -> PhotoRows:
    """``rows``, which are stored with the orientation ``turn``, upright: laid on a disk first."""
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
