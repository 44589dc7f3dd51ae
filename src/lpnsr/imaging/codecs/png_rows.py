"""PNG files row by row.

No library at hand gives a PNG's rows as they come; but the rows are a deflated stream of filtered bytes, and a few of
them between the right chunks are a small PNG again, which a library decodes.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image

from lpnsr.imaging.codecs.encoders import png_chunk
from lpnsr.imaging.codecs.headers import SAMPLES, png_image_data
from lpnsr.imaging.photo import Array, Photo
from lpnsr.imaging.rows import rows_at_once

_AS_BYTES = {1: (0, 8), 2: (4, 8), 3: (2, 8), 4: (6, 8), 6: (2, 16), 8: (6, 16)}
"""Colour type and depth by bytes a pixel: filters know bytes only, so any kind can be taken for one of these."""

Chunks = list[tuple[bytes, bytes]]
Decode = Callable[[bytes], Photo]


class PngFile:
    """The header of a PNG that is not interlaced: ``height``, ``width`` and what else is not image data."""

    def __init__(self, file: BinaryIO) -> None:
        file.seek(8)
        self.chunks: Chunks = []
        while len(head := file.read(8)) == 8:
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind == b"IDAT":
                file.seek(length + 4, 1)
            else:
                self.chunks.append((kind, file.read(length)))
                file.seek(4, 1)
        header = next(data for kind, data in self.chunks if kind == b"IHDR")
        self.width, self.height, self.depth, self.colour, _, _, self.interlaced = struct.unpack(">IIBBBBB", header)
        self.animated = any(kind == b"acTL" for kind, _ in self.chunks)

    def strips(self, file: BinaryIO, name: str, decode: Decode) -> Iterator[Photo]:
        """Yield the image in ``file`` in strips; ``decode`` makes photos of small PNG files. name: for messages."""
        bits = self.depth * SAMPLES[self.colour]
        row_bytes, step = -(-self.width * bits // 8), max(1, bits // 8)
        rows = rows_at_once(row_bytes)
        above = bytes(row_bytes)
        kept = [(kind, data) for kind, data in self.chunks if kind in (b"PLTE", b"tRNS")]
        for filtered in _inflated(png_image_data(file, name), 1 + row_bytes, rows, self.height):
            raw = _unfiltered(filtered, above, step)
            above = raw[-1].tobytes()
            lines = b"".join(b"\0" + row.tobytes() for row in raw)
            yield decode(_png(self.width, len(raw), self.depth, self.colour, lines, kept))


def _inflated(pieces: Iterator[bytes], row_bytes: int, rows: int, height: int) -> Iterator[bytes]:
    """Yield ``rows`` rows at a time of the deflated ``pieces``, ``height`` in all."""
    inflate, held, size = zlib.decompressobj(), bytearray(), rows * row_bytes
    left = height * row_bytes
    for piece in pieces:
        while piece and left:
            held += inflate.decompress(piece, max(1, size - len(held)))
            piece = inflate.unconsumed_tail
            if len(held) >= min(size, left):
                yield bytes(held[: min(size, left)])
                left -= min(size, left)
                held.clear()


def _unfiltered(filtered: bytes, above: bytes, step: int) -> Array:
    """Return rows (n, bytes) of pixels of ``step`` bytes, from filtered rows and the row above them."""
    row_bytes = len(above)
    colour, depth = _AS_BYTES[step]
    rows = len(filtered) // (1 + row_bytes)
    data = _png(row_bytes // step, rows + 1, depth, colour, b"\0" + above + filtered, [])
    if depth == 8:
        return np.asarray(Image.open(io.BytesIO(data))).reshape(rows + 1, row_bytes)[1:]
    import cv2

    wide = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if wide is None:
        raise ValueError("the filters of its rows make no sense")
    wide = wide[..., [2, 1, 0, 3][: step // 2]]  # OpenCV stores BGR(A)
    return np.ascontiguousarray(wide, ">u2").view(np.uint8).reshape(rows + 1, row_bytes)[1:]


def _png(width: int, height: int, depth: int, colour: int, lines: bytes, chunks: Chunks) -> bytes:
    """Return a PNG file of filtered ``lines``, with ``chunks`` before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(lines, 0)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in parts)
