"""PNG files of every kind, made by hand."""

from __future__ import annotations

import struct
import zlib

import numpy as np

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
KINDS = [(0, d) for d in (1, 2, 4, 8, 16)] + [(2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8)]
KINDS += [(4, 8), (4, 16), (6, 8), (6, 16)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(samples: np.ndarray, depth: int) -> bytes:
    """Rows of samples (h, w, c), each behind filter number 0."""
    rows = []
    for row in samples.reshape(len(samples), -1):
        if depth == 16:
            data = row.astype(">u2").tobytes()
        else:
            bits = ((row[:, None].astype(int) >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8)
            data = np.packbits(bits.ravel()).tobytes()
        rows.append(b"\0" + data)
    return b"".join(rows)


def make_png(samples: np.ndarray, colour: int, depth: int, *, interlaced: bool = False, extra: bytes = b"") -> bytes:
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    data = packed(samples, depth)
    if interlaced:
        passes = (samples[y0::dy, x0::dx] for x0, y0, dx, dy in ADAM7)
        data = b"".join(packed(p, depth) for p in passes if p.size)
    body = chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + body + chunk(b"IEND", b"")


def random_samples(colour: int, depth: int, size: tuple[int, int] = (11, 13)) -> np.ndarray:
    return np.random.default_rng(depth * 10 + colour).integers(0, 2**depth, (*size, CHANNELS[colour]))
