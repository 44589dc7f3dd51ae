"""XML that travels with images, XMP and OME: the sizes in it follow the picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from defusedxml import ElementTree

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_PANORAMA = "http://ns.google.com/photos/1.0/panorama/"
_WIDTHS = {f"{{{_TIFF}}}ImageWidth", f"{{{_EXIF}}}PixelXDimension"}
_HEIGHTS = {f"{{{_TIFF}}}ImageLength", f"{{{_EXIF}}}PixelYDimension"}
_ORIENTATION = f"{{{_TIFF}}}Orientation"
_STALE = (
    "http://ns.adobe.com/xap/1.0/g/img/",
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.adobe.com/xmp/note/",
    "http://ns.google.com/photos/",
)
"""Namespaces of what describes other data beside this image: thumbnails, gain maps, more XMP, depth maps, motion."""

Size = tuple[int, int]
"""(height, width)."""


def sized_xmp(packet: bytes, before: Size, after: Size) -> bytes:
    """Return the XMP ``packet`` of an upright image of size ``before`` that now has the size ``after``.

    Raises ValueError for a packet that is damaged.
    """
    down, across = after[0] / before[0], after[1] / before[1]

    def changed(name: str, value: str) -> str | None:
        if name in _WIDTHS:
            return str(after[1])
        if name in _HEIGHTS:
            return str(after[0])
        if name == _ORIENTATION:
            return "1"
        if name.startswith(f"{{{_PANORAMA}}}") and name.endswith("Pixels"):
            with suppress(ValueError):
                return str(round(float(value) * (across if "Width" in name or "Left" in name else down)))
        elif name[1:].startswith(_STALE):
            return None
        return value

    return _rewritten(packet, changed)


def sized_ome(document: str, before: Size, after: Size) -> str:
    """Return the OME ``document`` of an image of size ``before`` that now has the size ``after``. Raises ValueError."""
    factors = {"X": after[1] / before[1], "Y": after[0] / before[0]}
    sizes = {"X": after[1], "Y": after[0]}

    def changed(name: str, value: str) -> str:
        axis = name[-1:]
        if name == f"Size{axis}" and axis in sizes:
            return str(sizes[axis])
        if name == f"PhysicalSize{axis}" and axis in factors:
            with suppress(ValueError):
                return repr(float(value) / factors[axis])
        return value

    return _rewritten(document.encode(), changed, "us-ascii").decode()


def _rewritten(data: bytes, changed: Callable[[str, str], str | None], encoding: str = "utf-8") -> bytes:
    """Return the document ``data`` with the texts of attributes and elements as ``changed`` says; None removes one."""
    from xml.etree import ElementTree as Plain

    body = data.strip(b"\0 \r\n\t\xef\xbb\xbf")
    try:
        for _, (prefix, uri) in ElementTree.iterparse(io.BytesIO(body), events=("start-ns",)):
            with suppress(ValueError):  # a prefix that the library keeps for itself
                Plain.register_namespace(prefix, uri)
        root = ElementTree.fromstring(body)
    except Exception as error:
        raise ValueError(f"the XML is damaged: {error}") from None
    _change(root, changed)
    out: bytes = Plain.tostring(root, encoding=encoding)
    return out.partition(b"?>\n")[2] if out.startswith(b"<?xml") else out


def _change(element: Element, changed: Callable[[str, str], str | None]) -> None:
    for name, value in list(element.attrib.items()):
        new = changed(name, value)
        if new is None:
            del element.attrib[name]
        else:
            element.attrib[name] = new
    for child in list(element):
        new = changed(child.tag, child.text or "")
        if new is None:
            element.remove(child)
        else:
            if new != (child.text or ""):
                child.text = new
            _change(child, changed)
