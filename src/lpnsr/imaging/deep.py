"""Encoders of what Pillow cannot write: 16-bit PNG with any channels, and TIFF with profile and EXIF.

A PNG is rows of filtered, deflated big-endian samples between chunks; a TIFF is strips of differenced,
deflated samples behind a directory of tags, which Pillow's own directory class serialises.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from lpnsr.imaging.photo import Array

_STRIP_BYTES = 1 << 20
_METRE = 0.0254  # inches per dot per metre


def encode_png16(samples: Array, icc: bytes | None, exif: bytes | None, dpi: tuple[float, float] | None) -> bytes:
    """(H, W, 1..4) uint16 -> a PNG file; the channels are gray, gray + alpha, RGB or RGBA."""
    height, width, channels = samples.shape
    colour_type = (0, 4, 2, 6)[channels - 1]
    parts = [
        b"\x89PNG\r\n\x1a\n",
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)),
    ]
    if icc:
        parts.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if dpi:
        parts.append(_chunk(b"pHYs", struct.pack(">IIB", *(round(v / _METRE) for v in dpi), 1)))
    if exif:
        parts.append(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    deflate = zlib.compressobj(6)
    above = np.zeros((1, width * channels * 2), np.uint8)
    rows = max(1, _STRIP_BYTES // above.shape[1])
    for top in range(0, height, rows):
        raw = samples[top : top + rows].astype(">u2").view(np.uint8).reshape(-1, above.shape[1])
        packed = deflate.compress(_filtered(raw, np.concatenate([above, raw[:-1]]), channels * 2).tobytes())
        if packed:
            parts.append(_chunk(b"IDAT", packed))
        above = raw[-1:]
    parts += [_chunk(b"IDAT", deflate.flush()), _chunk(b"IEND", b"")]
    return b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _filtered(raw: Array, above: Array, step: int) -> Array:
    """Rows (n, bytes) with PNG filter Sub or Up, whichever leaves the smaller residues, behind its number."""
    sub = raw.copy()
    sub[:, step:] -= raw[:, :-step]
    candidates = (sub, raw - above)
    sizes = [np.abs(c.view(np.int8).astype(np.int16)).sum(1) for c in candidates]
    take_up = sizes[1] < sizes[0]
    number = np.where(take_up, 2, 1).astype(np.uint8)[:, None]
    return np.concatenate([number, np.where(take_up[:, None], candidates[1], sub)], 1)


def encode_tiff(samples: Array, icc: bytes | None, exif: Image.Exif | None, dpi: tuple[float, float] | None) -> bytes:
    """(H, W, 1..4) uint8 or uint16 -> a little-endian, deflated TIFF file; channels as for PNG.

    Gray + alpha in 16 bits becomes RGBA, for few programs read it.
    """
    height, width, channels = samples.shape
    if channels == 2 and samples.dtype == np.uint16:
        samples = samples[..., [0, 0, 0, 1]]
        channels = 4
    colours = 1 if channels <= 2 else 3
    rows = max(1, _STRIP_BYTES // (width * channels * samples.itemsize))
    strips = [_strip(samples[top : top + rows]) for top in range(0, height, rows)]
    tags: dict[int, Any] = {
        256: width,
        257: height,
        258: (samples.itemsize * 8,) * channels,
        259: 8,  # deflate
        262: 1 if colours == 1 else 2,  # black is zero, or RGB
        273: tuple(np.cumsum([0, *map(len, strips)])[:-1].tolist()),
        274: 1,
        277: channels,
        278: rows,
        279: tuple(map(len, strips)),
        284: 1,  # interleaved
        317: 2,  # horizontal differences
    }
    if channels > colours:
        tags[338] = 2  # straight alpha
    if dpi:
        tags |= {282: dpi[0], 283: dpi[1], 296: 2}
    if icc:
        tags[34675] = icc
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in (_groups(exif) | tags).items():
        directory[tag] = value
    directory.tagtype[273] = directory.tagtype[279] = 4
    if icc:
        directory.tagtype[34675] = 7
    out = io.BytesIO()
    directory.save(out)  # adds its own length to the strips' offsets
    out.write(b"".join(strips))
    return out.getvalue()


def _strip(samples: Array) -> bytes:
    differences = samples.copy()
    differences[:, 1:] -= samples[:, :-1]
    return zlib.compress(differences.astype(differences.dtype.newbyteorder("<")).tobytes(), 6)


def _groups(exif: Image.Exif | None) -> dict[int, Any]:
    """The tags of ``exif``, with its nested groups as dictionaries."""
    if exif is None:
        return {}
    return {tag: exif.get_ifd(tag) if tag in (34665, 34853) else value for tag, value in exif.items()}
