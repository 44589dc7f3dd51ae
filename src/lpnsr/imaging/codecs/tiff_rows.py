"""TIFF files row by row, by tifffile: strips and tiles, 8 and 16 bits, gray and RGB with straight alpha or none.

tifffile decodes uncompressed and deflated files by itself, and many more where imagecodecs is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lpnsr.imaging.photo import Array, Photo
from lpnsr.imaging.rows import rows_at_once

_UNCOMPRESSED, _DEFLATED = 1, (8, 32946)
_STRAIGHT_ALPHA = 2
_LARGEST_SEGMENT = 1 << 27  # bytes of pixels that are decoded at once


class TiffFile:
    """The first page of a TIFF: ``height``, ``width``, ``gray``, ``dtype``, ``transparent``.

    ``readable`` tells whether ``strips`` can give its rows.
    """

    def __init__(self, path: str) -> None:
        import tifffile

        self.path = path
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            self.height, self.width = int(page.imagelength), int(page.imagewidth)
            self.dtype: np.dtype[Any] = np.dtype(page.dtype or "V1").newbyteorder("=")
            self.gray = page.photometric == 1
            self.transparent = tuple(page.extrasamples) == (_STRAIGHT_ALPHA,)
            self.readable = self._readable(page)

    def _readable(self, page: Any) -> bool:
        whole = int(page.rowsperstrip or page.imagelength) if not page.is_tiled else int(page.tilelength)
        segment = min(whole, self.height) * self.width * page.samplesperpixel * self.dtype.itemsize
        colours = 1 if self.gray else 3
        known = page.compression in (_UNCOMPRESSED, *_DEFLATED) and page.predictor in (1, 2)
        return (
            (known or _has_imagecodecs())
            and page.photometric in (1, 2)
            and page.planarconfig == 1
            and page.samplesperpixel == colours + self.transparent
            and (self.transparent or not page.extrasamples)
            and page.sampleformat == 1
            and page.bitspersample in (8, 16)
            and self.dtype in (np.uint8, np.uint16)
            and int(page.tags.valueof(274, 1)) == 1
            and (_is_plain(page) or segment <= _LARGEST_SEGMENT)
        )

    def strips(self) -> Iterator[Photo]:
        """The image from top to bottom."""
        import tifffile

        with tifffile.TiffFile(self.path) as file:
            page = file.pages.first
            for rows in _plain(file, page) if _is_plain(page) else _segments(page):
                values = rows.astype(self.dtype, copy=False)
                if self.transparent:
                    yield Photo(np.ascontiguousarray(values[..., :-1]), np.ascontiguousarray(values[..., -1]))
                else:
                    yield Photo(values)


def _has_imagecodecs() -> bool:
    from importlib.util import find_spec

    return find_spec("imagecodecs") is not None


def _is_plain(page: Any) -> bool:
    """Whether the pixels lie in the file as they are."""
    return bool(page.is_contiguous and page.predictor == 1)


def _plain(file: Any, page: Any) -> Iterator[Array]:
    """Rows of pixels that lie in the file as they are, a few at a time."""
    dtype = np.dtype(page.dtype).newbyteorder(file.byteorder)
    shape = (page.imagewidth, page.samplesperpixel)
    row_bytes = int(np.prod(shape)) * dtype.itemsize
    with Path(file.filehandle.path).open("rb") as raw:
        raw.seek(page.dataoffsets[0])
        for top in range(0, page.imagelength, rows_at_once(row_bytes)):
            rows = min(rows_at_once(row_bytes), page.imagelength - top)
            yield np.frombuffer(raw.read(rows * row_bytes), dtype).reshape(rows, *shape)


def _segments(page: Any) -> Iterator[Array]:
    """Rows of strips or of tiles as they are decoded."""
    across = -(-page.imagewidth // page.tilewidth) if page.is_tiled else 1
    parts: list[Array] = []
    for segment, (_, _, top, left, _), (_, length, width, channels) in page.segments(maxworkers=1):
        length, width = min(length, page.imagelength - top), min(width, page.imagewidth - left)
        empty = np.zeros((length, width, channels), page.dtype)  # a place without data
        parts.append(empty if segment is None else segment[0, :length, :width])
        if len(parts) == across:
            yield np.concatenate(parts, 1)
            parts = []
