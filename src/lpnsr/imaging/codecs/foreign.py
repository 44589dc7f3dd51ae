"""Kinds of files by their first bytes: those that a plugin of Pillow reads, and those that are only named."""

from __future__ import annotations

import re
import warnings
from importlib import import_module
from typing import BinaryIO

from lpnsr.errors import ImageReadError, LpnsrWarning

RAW_PHOTOGRAPH = "a raw photograph: develop it first, and save it as TIFF or PNG"
_VIDEO = "a video, not an image; use lpnsr video"
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")

_KINDS: tuple[tuple[str, bytes], ...] = (
    (RAW_PHOTOGRAPH, rb"FUJIFILMCCD-RAW|FOVb|\0MRM|IIRO|IIRS|MMOR|IIU\0|II\x1a\0\0\0HEAP"),
    (RAW_PHOTOGRAPH, rb"(II\*\0|MM\0\*).{4}CR"),
    (_VIDEO, rb"\x1aE\xdf\xa3|RIFF.{4}AVI |\0\0\x01[\xba\xb3]|FLV\x01|0&\xb2u|OggS|\x47.{187}\x47"),
    (_VIDEO, rb".{4}(moov|mdat|wide|free)"),
    ("a PDF document; save its page as PNG", rb"%PDF"),
    ("a Photoshop document; save it as TIFF or PNG", rb"8BPS|8BPB"),
    ("a GIMP document; save it as TIFF or PNG", rb"gimp xcf"),
    ("a JPEG 2000 file, which cannot be read; save it as TIFF or PNG", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    ("an OpenEXR file, which cannot be read; save it as TIFF or PNG", rb"\x76\x2f\x31\x01"),
    ("a Radiance file, which cannot be read; save it as TIFF or PNG", rb"#\?(RADIANCE|RGBE)"),
    ("an SVG drawing; save it as PNG", rb"\s*(<\?xml.*)?<svg"),
    ("an icon file, which cannot be read; save it as PNG", rb"\0\0[\x01\x02]\0[^\0]\0"),
    ("a ZIP archive; unpack it first", rb"PK\x03\x04"),
    ("a web page and not an image; download the image itself", rb"\s*<(!doctype html|!DOCTYPE html|html|HTML)"),
)

_SRGB_PRIMARIES, _UNSPECIFIED, _SRGB = 1, 2, 13
_METADATA, _MOST_METADATA = (b"brob", b"Exif", b"xml "), 1 << 24
"""Boxes of a JPEG XL, the first of them with another one packed; the most bytes of one that is unpacked."""
_TRANSFERS = (8, 16, 18)
"""Transfer functions that look quite otherwise than that of sRGB: linear, PQ and HLG."""
_PLUGINS = {
    "HEIF": ("a HEIC file", "pillow_heif", "heif", "register_heif_opener"),
    "JXL": ("a JPEG XL file", "pillow_jxl", "jxl", ""),
}
"""Of formats that a plugin of Pillow reads: what to call a file, the module, our extra, and what registers it."""


def plugin_format(head: bytes) -> str | None:
    """Return the format of a file that starts with ``head``, if a plugin reads it."""
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return "JXL"
    brands = _brands(head)
    return "HEIF" if set(brands) & set(_HEIC_BRANDS) and not set(brands) & set(_AVIF_BRANDS) else None


def need_plugin(form: str, name: str) -> None:
    """Have Pillow read ``form``. Raises ImageReadError, with the line that installs the plugin."""
    what, module, extra, register = _PLUGINS[form]
    try:
        plugin = import_module(module)
    except ImportError:
        raise ImageReadError(
            f"{name}: {what}, which needs a plugin: pip install 'lpnsr[{extra}]'; or save it as JPEG or PNG first"
        ) from None
    if register:
        getattr(plugin, register)()


def describe(form: str) -> str:
    """Describe a file of a format that a plugin reads."""
    return _PLUGINS[form][0]


def has_plugin(form: str) -> bool:
    """Tell whether Pillow's plugin for ``form`` is installed."""
    from importlib.util import find_spec

    return find_spec(_PLUGINS[form][1]) is not None


def colour_of(file: BinaryIO) -> tuple[tuple[bytes, bytes], ...]:
    """Return the colours that an AVIF or HEIC states by numbers (ITU-T H.273) as a cICP chunk; none for sRGB."""
    file.seek(0)
    head = file.read(1 << 16)
    stated = set(re.findall(rb"colrnclx\0(.)\0(.)", head, re.DOTALL)) if _brands(head) else set()
    if len(stated) != 1:
        return ()
    primaries, transfer = (value[0] for value in stated.pop())
    transfer = transfer if transfer in _TRANSFERS else _SRGB
    if primaries in (_SRGB_PRIMARIES, _UNSPECIFIED) and transfer == _SRGB:
        return ()
    return ((b"cICP", bytes((primaries, transfer, 0, 1))),)


def metadata_of(file: BinaryIO, name: str) -> dict[str, bytes]:
    """Return the EXIF and XMP of a JPEG XL; its plugin leaves out XMP, and EXIF that is compressed."""
    from imagecodecs import BrotliError, brotli_decode

    found: dict[str, bytes] = {}
    at = file.seek(0)
    while len(head := file.read(8)) == 8 and (size := int.from_bytes(head[:4], "big")) >= 8:
        kind, data = head[4:], file.read(size - 8) if head[4:] in _METADATA else b""
        if kind == b"brob":
            kind, packed = data[:4], data[4:]
            try:
                data = bytes(brotli_decode(packed, out=_MOST_METADATA)) if kind in _METADATA else b""
            except BrotliError:
                text = f"{name}: its {kind.decode().strip()} box is damaged or too large, and is left out"
                warnings.warn(text, LpnsrWarning, stacklevel=3)
                data = b""
        if data and kind == b"xml ":
            found["xmp"] = data
        elif data and kind == b"Exif":
            bare = data[:4] in (b"II*\0", b"MM\0*")  # as the plugin writes it: without the offset
            found["exif"] = data if bare else data[4 + int.from_bytes(data[:4], "big") :]
        at = file.seek(at + size)
    return found


def kind_of(file: BinaryIO) -> str | None:
    """Return a description of a file that is no image that can be read, if it is of a known kind."""
    file.seek(0)
    head = file.read(1 << 10)
    if _brands(head):
        return _VIDEO if not set(_brands(head)) & {b"crx "} else RAW_PHOTOGRAPH
    return next((kind for kind, pattern in _KINDS if re.match(pattern, head, re.DOTALL)), None)


def _brands(head: bytes) -> list[bytes]:
    """Return the brands of a file of the ISO media family: the major one, then the compatible ones."""
    if head[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]
