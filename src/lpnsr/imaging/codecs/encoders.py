"""Encoders that take a photo row by row: PNG and TIFF, in 8 and 16 bits, with profile, EXIF and density.

A PNG is rows of filtered, deflated big-endian samples between chunks; a TIFF is strips of differenced,
deflated samples behind a directory of tags, which Pillow's own directory class serialises.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from lpnsr.imaging.codecs.png_chunks import RAW_PROFILE, XMP_KEYWORD
from lpnsr.imaging.metadata.extras import Extras, photoshop_resources
from lpnsr.imaging.photo import Array
from lpnsr.imaging.rows import PhotoRows, recut, samples

_STRIP_BYTES = 1 << 20
_METRE = 0.0254  # inches per dot per metre
_CLASSIC_TIFF_BYTES = 4 * 10**9  # of the pixels; its offsets end at 2^32
_MOST_PACKED_TEXT = 1 << 20  # readers refuse to inflate more
_OFFSETS, _LENGTHS = 273, 279
_DESCRIPTION, _XMP, _IPTC, _PROFILE = 270, 700, 33723, 34675


def write_png(rows: PhotoRows, exif: Image.Exif | None, file: BinaryIO) -> None:
    """Write a PNG file; ``exif`` takes the place of that of ``rows``."""
    step = rows.channels * rows.dtype.itemsize
    colour_type = (0, 4, 2, 6)[rows.channels - 1]
    header = struct.pack(">IIBBBBB", rows.width, rows.height, 8 * rows.dtype.itemsize, colour_type, 0, 0, 0)
    file.write(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header))
    for kind, data in rows.extras.colour:
        if kind != b"sRGB" or not rows.icc:  # which exclude each other
            file.write(png_chunk(kind, data))
    if rows.icc:
        file.write(png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(rows.icc)))
    if rows.dpi:
        file.write(png_chunk(b"pHYs", struct.pack(">IIB", *(round(v / _METRE) for v in rows.dpi), 1)))
    if exif is not None:
        file.write(png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    for chunk in _png_texts(rows.extras):
        file.write(chunk)
    deflate = zlib.compressobj(6)
    above = np.zeros((1, rows.row_bytes), np.uint8)
    for part in _parts(rows):
        raw = part.astype(part.dtype.newbyteorder(">")).view(np.uint8).reshape(-1, rows.row_bytes)
        packed = deflate.compress(_filtered(raw, np.concatenate([above, raw[:-1]]), step).tobytes())
        if packed:
            file.write(png_chunk(b"IDAT", packed))
        above = raw[-1:]
    file.write(png_chunk(b"IDAT", deflate.flush()) + png_chunk(b"IEND", b""))


def _png_texts(extras: Extras) -> Iterator[bytes]:
    """Yield chunks of the texts, of XMP, and of IPTC as ImageMagick writes it."""
    if extras.xmp:
        yield png_chunk(b"iTXt", XMP_KEYWORD.encode() + bytes(5) + extras.xmp)
    if extras.iptc:
        data = photoshop_resources(extras.iptc)
        text = f"\n8bim\n{len(data):8d}\n" + "\n".join(re.findall(".{1,72}", data.hex())) + "\n"
        yield png_chunk(b"zTXt", f"{RAW_PROFILE}8bim\0\0".encode() + zlib.compress(text.encode()))
    for keyword, text in extras.texts:
        name = keyword.encode("latin-1", "replace")[:79].strip() or b"Comment"
        try:
            data = text.encode("latin-1")
        except UnicodeEncodeError:
            yield png_chunk(b"iTXt", name + bytes(5) + text.encode())
        else:
            packed = 1000 < len(data) < _MOST_PACKED_TEXT
            kind, body = (b"zTXt", b"\0" + zlib.compress(data)) if packed else (b"tEXt", data)
            yield png_chunk(kind, name + b"\0" + body)


def _parts(rows: PhotoRows) -> Iterator[Array]:
    """Yield (n, W, 1..4), a mebibyte or a row at a time."""
    return recut((samples(strip) for strip in rows.strips), max(1, _STRIP_BYTES // rows.row_bytes))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _filtered(raw: Array, above: Array, step: int) -> Array:
    """Return rows (n, bytes) with PNG filter Sub or Up, whichever leaves the smaller residues, behind its number."""
    sub = raw.copy()
    sub[:, step:] -= raw[:, :-step]
    candidates = (sub, raw - above)
    sizes = [np.abs(c.view(np.int8).astype(np.int16)).sum(1) for c in candidates]
    take_up = sizes[1] < sizes[0]
    number = np.where(take_up, 2, 1).astype(np.uint8)[:, None]
    return np.concatenate([number, np.where(take_up[:, None], candidates[1], sub)], 1)


def write_tiff(rows: PhotoRows, exif: Image.Exif | None, file: BinaryIO) -> None:
    """Write a little-endian, deflated TIFF file at the beginning of ``file``, as BigTIFF from 4 GB on.

    Gray + alpha in 16 bits becomes RGBA, for few programs read it.
    """
    widened = rows.channels == 2 and rows.dtype == np.uint16
    channels = 4 if widened else rows.channels
    row_bytes = rows.width * channels * rows.dtype.itemsize
    big = row_bytes * rows.height >= _CLASSIC_TIFF_BYTES
    rows_per_strip = max(1, _STRIP_BYTES // row_bytes)
    directory = _directory(rows, channels, exif, big)
    directory[278] = rows_per_strip
    count = -(-rows.height // rows_per_strip)
    lengths: list[int] = []
    _put_directory(directory, [0] * count, [0] * count, big, file)  # to know its length
    for part in recut((samples(strip) for strip in rows.strips), rows_per_strip):
        packed = _strip(part[..., [0, 0, 0, 1]] if widened else part)
        file.write(packed)
        lengths.append(len(packed))
    file.seek(0)
    _put_directory(directory, np.cumsum([0, *lengths[:-1]], dtype=np.int64).tolist(), lengths, big, file)


def _directory(
    rows: PhotoRows, channels: int, exif: Image.Exif | None, big: bool
) -> TiffImagePlugin.ImageFileDirectory_v2:
    colours = 1 if channels <= 2 else 3
    tags: dict[int, Any] = {
        256: rows.width,
        257: rows.height,
        258: (rows.dtype.itemsize * 8,) * channels,
        259: 8,  # deflate
        262: 1 if colours == 1 else 2,  # black is zero, or RGB
        274: 1,
        277: channels,
        284: 1,  # interleaved
        317: 2,  # horizontal differences
    }
    if channels > colours:
        tags[338] = 2  # straight alpha
    if rows.dpi:
        tags |= {282: rows.dpi[0], 283: rows.dpi[1], 296: 2}
    blobs = {_PROFILE: rows.icc, _XMP: rows.extras.xmp, _IPTC: rows.extras.iptc}
    tags |= {tag: data for tag, data in blobs.items() if data}
    if rows.extras.comment and not (exif and _DESCRIPTION in exif):
        tags[_DESCRIPTION] = rows.extras.comment
    header = b"II+\0\x08\0\0\0" + bytes(8) if big else b"II*\0" + bytes(4)
    directory = TiffImagePlugin.ImageFileDirectory_v2(header)
    for tag, value in (_groups(exif) | tags).items():
        directory[tag] = value
    for tag, kind in ((_PROFILE, 7), (_XMP, 1), (_IPTC, 7)):
        if tag in tags:
            directory.tagtype[tag] = kind
    return directory


def _put_directory(
    directory: TiffImagePlugin.ImageFileDirectory_v2, offsets: list[int], lengths: list[int], big: bool, file: BinaryIO
) -> None:
    """Write the header and ``directory``; the strips' ``offsets`` count from where it ends."""
    directory[_OFFSETS], directory[_LENGTHS] = tuple(offsets), tuple(lengths)
    directory.tagtype[_OFFSETS] = 16 if big else 4
    directory.tagtype[_LENGTHS] = 4
    directory.save(file)  # adds its own length to the offsets


def _strip(part: Array) -> bytes:
    differences = part.copy()
    differences[:, 1:] -= part[:, :-1]
    return zlib.compress(differences.astype(differences.dtype.newbyteorder("<")).tobytes(), 6)


def _groups(exif: Image.Exif | None) -> dict[int, Any]:
    """Return the tags of ``exif``, with its nested groups as dictionaries."""
    if exif is None:
        return {}
    return {tag: exif.get_ifd(tag) if tag in (34665, 34853) else value for tag, value in exif.items()}
