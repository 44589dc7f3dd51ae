"""Metadata beside profile, EXIF and density: XMP, IPTC, texts, and what a PNG says of its colours."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PHOTOSHOP = b"Photoshop 3.0\0"
_IPTC_RESOURCE = 0x0404


@dataclass(frozen=True)
class Extras:
    """Metadata of an image beside profile and EXIF.

    size: (height, width) that the image had in its file, upright, to which the numbers in ``xmp`` and EXIF belong.
    xmp: a packet. iptc: an IPTC-IIM block. texts: (keyword, text); a comment of a JPEG or GIF has the keyword Comment.
    colour: PNG chunks that say what the colours mean.
    """

    size: tuple[int, int] | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    texts: tuple[tuple[str, str], ...] = ()
    colour: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def comment(self) -> str | None:
        """The first comment."""
        return next((text for keyword, text in self.texts if keyword == "Comment"), None)


NO_EXTRAS = Extras()


def extras_of(info: Mapping[str, Any], size: tuple[int, int]) -> Extras:
    """Return the extras in the ``info`` of a PIL image of ``size``, or in one that was made like that."""
    xmp = info.get("xmp")
    texts = list(info.get("texts", ()))
    if info.get("comment"):
        comment = info["comment"]
        texts.append(("Comment", comment if isinstance(comment, str) else _decoded(comment)))
    return Extras(
        size,
        xmp.encode() if isinstance(xmp, str) else bytes(xmp) if xmp else None,
        _iptc(info.get("photoshop")),
        tuple(texts),
        tuple(info.get("colour", ())),
    )


def _decoded(comment: bytes) -> str:
    comment = comment.rstrip(b"\0")
    try:
        return comment.decode()
    except UnicodeDecodeError:
        return comment.decode("latin-1")


def _iptc(blocks: object) -> bytes | None:
    """Return the IPTC block of Photoshop's image resources: a dictionary from Pillow, or bytes; or the block itself."""
    if isinstance(blocks, dict):
        found = blocks.get(_IPTC_RESOURCE)
        return bytes(found) if isinstance(found, (bytes, bytearray)) and found else None
    if not isinstance(blocks, (bytes, bytearray)) or not blocks:
        return None
    data = bytes(blocks).removeprefix(PHOTOSHOP)
    if data[:1] == b"\x1c":
        return data
    return next((block for number, block in _resources(data) if number == _IPTC_RESOURCE and block), None)


def _resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while data[at : at + 4] == b"8BIM":
        (number,) = struct.unpack_from(">H", data.ljust(at + 6, b"\0"), at + 4)
        name = 1 + data[at + 6] if at + 6 < len(data) else 1
        start = at + 6 + name + name % 2
        length = int.from_bytes(data[start : start + 4], "big")
        yield number, data[start + 4 : start + 4 + length]
        at = start + 4 + length + length % 2


def photoshop_resources(iptc: bytes) -> bytes:
    """Return the image resource that holds ``iptc``."""
    return b"8BIM" + struct.pack(">HHI", _IPTC_RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
