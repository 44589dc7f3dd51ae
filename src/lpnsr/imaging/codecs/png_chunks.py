"""The chunks of a PNG beside its pixels: read within bounds, and kept from decoders that stumble over them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from lpnsr.imaging.codecs.spliced import Piece, spliced

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_CHUNKS = (b"cICP", b"mDCV", b"cLLI", b"sRGB", b"gAMA", b"cHRM")
XMP_KEYWORD = "XML:com.adobe.xmp"
RAW_PROFILE = "Raw profile type "
_END = b"\0\0\0\0IEND\xaeB`\x82"  # which some decoders insist on
_OF_THE_PIXELS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")
_LARGEST_CHUNK = 1 << 25  # bytes as stored, of chunks that are looked into
_LARGEST_PROFILE = 1 << 25
_MOST_TEXT = 1 << 24  # bytes inflated, of all texts


@dataclass
class PngChunks:
    """Contents of a PNG beside its pixels.

    file: the PNG with what shows the pixels, and nothing else. left_out: chunks that were passed over, and why.
    The rest is as in ``Extras`` and Pillow's info.
    """

    file: BinaryIO
    info: dict[str, Any] = field(default_factory=dict)
    texts: list[tuple[str, str]] = field(default_factory=list)
    colour: list[tuple[bytes, bytes]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    text_bytes: int = 0


def read_chunks(file: BinaryIO) -> PngChunks:
    """Read what a PNG holds beside its pixels. Chunks that are damaged or too large are passed over."""
    found = PngChunks(file)
    size = file.seek(0, 2)
    pieces: list[Piece] = [(0, 8)]
    at = file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        end = at + 12 + length
        if not kind.isalpha() or end > size:
            break
        if not kind[0] & 0x20 or (kind in _OF_THE_PIXELS and kind != b"tRNS"):
            pieces.append((at, 12 + length))
        elif length > _LARGEST_CHUNK:
            found.left_out.append(f"{kind.decode()} ({length:,} bytes)")
        else:
            data = file.read(length)
            if file.read(4) != zlib.crc32(kind + data).to_bytes(4, "big"):
                found.left_out.append(f"{kind.decode()} (wrong checksum)")
            elif kind == b"tRNS":
                pieces.append((at, 12 + length))
            else:
                _take(found, kind, data)
        at = file.seek(end)
    pieces.append((at, size - at) if size - at >= 12 else _END)  # a damaged rest is for the decoder to judge
    found.file = spliced(file, pieces)
    return found


def _take(found: PngChunks, kind: bytes, data: bytes) -> None:
    try:
        if kind == b"iCCP":
            _, _, rest = data.partition(b"\0")
            found.info["icc_profile"] = inflated(rest[1:], _LARGEST_PROFILE)
        elif kind == b"eXIf":
            found.info["exif"] = b"Exif\0\0" + data
        elif kind == b"pHYs" and data[8:9] == b"\1":
            found.info["dpi"] = tuple(int.from_bytes(data[i : i + 4], "big") * 0.0254 for i in (0, 4))
        elif kind in COLOUR_CHUNKS:
            found.colour.append((kind, data))
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            _take_text(found, *_text(kind, data, _MOST_TEXT - found.text_bytes))
    except (zlib.error, ValueError, IndexError) as error:
        found.left_out.append(f"{kind.decode()} ({error})")


def _take_text(found: PngChunks, keyword: str, text: str) -> None:
    found.text_bytes += len(text)
    what = keyword.removeprefix(RAW_PROFILE).lower()
    if keyword == XMP_KEYWORD:
        found.info["xmp"] = text.encode()
    elif what == keyword.lower():
        found.texts.append((keyword, text))
    else:  # as ImageMagick writes them: name, length and hexadecimal digits, line by line
        data = bytes.fromhex("".join(text.split("\n")[3:]))
        if what == "xmp":
            found.info.setdefault("xmp", data)
        elif what in ("exif", "app1"):
            found.info.setdefault("exif", data if data.startswith(b"Exif") else b"Exif\0\0" + data)
        elif what in ("iptc", "8bim"):
            found.info.setdefault("photoshop", data)
        elif what in ("icc", "icm"):
            found.info.setdefault("icc_profile", data)


def _text(kind: bytes, data: bytes, most: int) -> tuple[str, str]:
    keyword, _, rest = data.partition(b"\0")
    packed, encoding = False, "latin-1"
    if kind == b"zTXt":
        packed, rest = True, rest[1:]
    elif kind == b"iTXt":
        packed, encoding = rest[0] == 1, "utf-8"
        rest = rest[2:].split(b"\0", 2)[2]  # behind the language and the translated keyword
    if packed:
        rest = inflated(rest, most)
    elif len(rest) > most:
        raise ValueError(f"more than {_MOST_TEXT:,} bytes of text")
    return keyword.decode("latin-1"), rest.decode(encoding, "replace")


def inflated(data: bytes, most: int) -> bytes:
    """Inflate ``data``. Raises ValueError beyond ``most`` bytes, zlib.error for damage."""
    inflate = zlib.decompressobj()
    out = inflate.decompress(data, most + 1)
    if len(out) > most:
        raise ValueError(f"it inflates to more than {most:,} bytes")
    if not inflate.eof:
        raise ValueError("it is cut short")
    return out
