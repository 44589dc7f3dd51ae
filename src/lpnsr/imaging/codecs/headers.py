"""Check of a header against the length of the file. Decoders fill missing data with black or gray."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from PIL import TiffImagePlugin

from lpnsr.errors import ImageReadError, LpnsrWarning

_CHUNK = 1 << 20
_JPEG_TABLES = 347
_UNREAD_FRAMES = dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF, 0xF7), "without loss")
_ALONE = (0x01, *range(0xD0, 0xD9))
"""Markers without a length."""
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | set(_UNREAD_FRAMES)
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # per pixel, by PNG colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png_bit_depth(file: BinaryIO) -> int:
    """Return bits per sample as the IHDR chunk of a PNG states them; ``file`` is left where it was."""
    position = file.tell()
    file.seek(24)
    depth = file.read(1)
    file.seek(position)
    return depth[0] if depth else 0


def check_jpeg(file: BinaryIO, size: tuple[int, int], name: str) -> None:
    """Raise ImageReadError if a JPEG is too short for its header: every block of 8 x 8 pixels takes a bit or more.

    Of what else the decoder finds wrong, an LpnsrWarning tells: Pillow passes over it in silence.
    """
    file.seek(0, 2)
    if size[0] * size[1] > 64 * 8 * file.tell():
        raise _short(name, size)
    file.seek(0)
    _tell_damage(file.read(), name)


def check_jpeg_in_tiff(image: TiffImagePlugin.TiffImageFile, file: BinaryIO, name: str) -> None:
    """Warn of what the decoder finds wrong in the strips or tiles of a TIFF with JPEG compression."""
    tags = image.tag_v2
    tables = bytes(tags.get(_JPEG_TABLES, b""))[:-2]
    places = [(tags.get(strips) or tags.get(tiles, ())) for strips, tiles in ((273, 324), (279, 325))]
    for offset, count in zip(*places, strict=False):
        file.seek(offset)
        data = file.read(count)
        if _tell_damage(tables + data[2:] if tables else data, name):
            return


def _tell_damage(jpeg: bytes, name: str) -> bool:
    """Warn of what the decoder finds wrong; return whether it does."""
    import simplejpeg

    if jpeg_kind(jpeg):
        return False  # it overruns its memory where it cannot reduce the size
    try:
        colours = simplejpeg.decode_jpeg_header(jpeg)[2]
        kind = "CMYK" if colours in ("CMYK", "YCCK") else "GRAY" if colours == "Gray" else "RGB"
        simplejpeg.decode_jpeg(jpeg, kind, fastdct=True, fastupsample=True, min_height=1, min_width=1)
    except ValueError as error:
        text = f"{name}: the decoder warns: {error}. Parts of the picture may be gray or wrong; get the file again"
        warnings.warn(text, LpnsrWarning, stacklevel=3)
        return True
    return False


def jpeg_kind(jpeg: bytes) -> str | None:
    """Describe a JPEG whose frame header names a kind that only some decoders read; None for others."""
    at = 2
    while 0 <= (at := jpeg.find(b"\xff", at)) < len(jpeg) - 4:
        marker = jpeg[at + 1]
        if marker in _FRAMES:
            bits = jpeg[at + 4]
            kind = _UNREAD_FRAMES.get(marker) or (f"with {bits} bits per sample" if bits > 8 else "")
            return f"a JPEG file {kind}, which cannot be read; save it as PNG or TIFF" if kind else None
        at += 1 if marker in (0, 0xFF) else 2 if marker in _ALONE else 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return None


def check_png(file: BinaryIO, size: tuple[int, int], name: str) -> None:
    """Raise ImageReadError if the image data of a PNG fails its checksums, which Pillow does not look at, or inflates
    to less than the header promises.
    """
    position = file.tell()
    file.seek(24)
    depth, colour, _, _, interlaced = file.read(5)
    bits = depth * SAMPLES[colour]
    missing = sum(rows * (1 + (columns * bits + 7) // 8) for rows, columns in _passes(*size, interlaced) if columns > 0)
    inflate = zlib.decompressobj()
    for piece in png_image_data(file, name):
        while piece and missing > 0:
            missing -= len(inflate.decompress(piece, _CHUNK))
            piece = inflate.unconsumed_tail
    missing -= len(inflate.flush()) if missing > 0 else 0
    file.seek(position)
    if missing > 0:
        raise _short(name, size)


def _passes(width: int, height: int, interlaced: int) -> list[tuple[int, int]]:
    """Return (rows, columns) of each pass."""
    if not interlaced:
        return [(height, width)]
    return [(max(0, -(-(height - y) // dy)), max(0, -(-(width - x) // dx))) for x, y, dx, dy in _ADAM7]


def png_image_data(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the contents of the IDAT chunks, in pieces."""
    file.seek(8)
    while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        length = int.from_bytes(head[:4], "big")
        if head[4:] != b"IDAT":
            file.seek(length + 4, 1)
            continue
        checksum = zlib.crc32(b"IDAT")
        while length > 0 and (data := file.read(min(length, _CHUNK))):
            length -= len(data)
            checksum = zlib.crc32(data, checksum)
            yield data
        if length == 0 and file.read(4) != checksum.to_bytes(4, "big"):
            raise ImageReadError(f"{name}: the image data is damaged: a checksum is wrong. Get the file again")


def _short(name: str, size: tuple[int, int]) -> ImageReadError:
    return ImageReadError(
        f"{name}: the header promises {size[0]} x {size[1]} pixels, but the file holds fewer: the image data is "
        "damaged or cut short. Get the file again"
    )
