"""PNG files of every kind, made by hand."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from itertools import cycle

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
KINDS = [(0, d) for d in (1, 2, 4, 8, 16)] + [(2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8)]
KINDS += [(4, 8), (4, 16), (6, 8), (6, 16)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(samples: np.ndarray, depth: int, filters: Sequence[int] = (0,)) -> bytes:
    """Rows of samples (h, w, c), each behind the number of its filter; ``filters`` take turns."""
    rows, above = [], None
    step = max(1, depth * samples.shape[2] // 8)
    for row, number in zip(samples.reshape(len(samples), -1), cycle(filters), strict=False):
        if depth == 16:
            data = row.astype(">u2").tobytes()
        else:
            bits = ((row[:, None].astype(int) >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8)
            data = np.packbits(bits.ravel()).tobytes()
        rows.append(bytes([number]) + _filtered(data, above or bytes(len(data)), step, number))
        above = data
    return b"".join(rows)


def _filtered(data: bytes, above: bytes, step: int, number: int) -> bytes:
    """A row less what PNG's filter of this number predicts from the pixels left, above and above left."""
    x, b = np.frombuffer(data, np.uint8).astype(int), np.frombuffer(above, np.uint8).astype(int)
    a, c = (np.concatenate([np.zeros(step, int), row])[: len(row)] for row in (x, b))
    distances = np.abs(np.stack([b - c, a - c, a + b - 2 * c]))  # of a + b - c to a, b and c
    paeth = np.choose(distances.argmin(0), [a, b, c])
    return bytes(((x - (0, a, b, (a + b) // 2, paeth)[number]) % 256).astype(np.uint8))


def make_png(
    samples: np.ndarray,
    colour: int,
    depth: int,
    *,
    interlaced: bool = False,
    extra: bytes = b"",
    after: bytes = b"",
    filters: Sequence[int] = (0,),
    split: int | None = None,
    level: int = -1,
) -> bytes:
    """A PNG file with the chunks ``extra`` before and ``after`` its data; ``split``: bytes of an IDAT chunk."""
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    passes = [samples[y0::dy, x0::dx] for x0, y0, dx, dy in ADAM7] if interlaced else [samples]
    data = zlib.compress(b"".join(packed(p, depth, filters) for p in passes if p.size), level)
    size = split or len(data)
    body = b"".join(chunk(b"IDAT", data[at : at + size]) for at in range(0, len(data), size))
    return SIGNATURE + chunk(b"IHDR", header) + extra + body + after + chunk(b"IEND", b"")


def random_samples(colour: int, depth: int, size: tuple[int, int] = (11, 13)) -> np.ndarray:
    return np.random.default_rng(depth * 10 + colour).integers(0, 2**depth, (*size, CHANNELS[colour]))
