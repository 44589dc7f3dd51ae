"""The file formats, by extension, and what each can hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from PIL import features

from lpnsr.errors import OutputError
from lpnsr.imaging.codecs.foreign import has_plugin


@dataclass(frozen=True)
class Format:
    """Capabilities of a file format."""

    name: str  # Pillow's name
    extensions: tuple[str, ...]
    max_side: int
    alpha: bool = True
    gray: bool = True
    sixteen_bit: bool = False
    quality: int | None = None  # default of the lossy formats
    holds: tuple[str, ...] = ()  # of what is no pixel


_COMMON = ("icc", "exif", "xmp")
FORMATS = {
    f.name: f
    for f in (
        Format("PNG", (".png",), 2**31 - 1, sixteen_bit=True, holds=(*_COMMON, "iptc", "texts", "colour")),
        Format(
            "JPEG",
            (".jpg", ".jpeg", ".jpe", ".jfif"),
            65500,
            alpha=False,
            quality=95,
            holds=(*_COMMON, "iptc", "comment"),
        ),
        Format("WEBP", (".webp",), 16383, gray=False, quality=92, holds=_COMMON),
        Format("TIFF", (".tif", ".tiff"), 2**31 - 1, sixteen_bit=True, holds=(*_COMMON, "iptc", "comment", "geo")),
        Format("BMP", (".bmp",), 2**31 - 1, alpha=False),
        Format("GIF", (".gif",), 65535, holds=("comment",)),
        Format("AVIF", (".avif",), 65535, gray=False, quality=85, holds=_COMMON),
    )
    if f.name not in ("WEBP", "AVIF") or features.check(f.name.lower())
}
EXTENSIONS = {extension: f.name for f in FORMATS.values() for extension in f.extensions}
"""Of files that can be written."""
READ_ONLY = {"PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pam"), "HEIF": (".heic", ".heif", ".hif"), "JXL": (".jxl",)}
"""Formats that are read and not written; the last two with Pillow's plugins."""


_PLUGGED = {extension: form for form in ("HEIF", "JXL") for extension in READ_ONLY[form]}
READABLE = (
    *EXTENSIONS,
    *(end for form, ends in READ_ONLY.items() if form == "PPM" or has_plugin(form) for end in ends),
)
"""Extensions of files that can be read here."""
_NAMED = {
    "video": (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".mts"),
    "raw photograph": (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"),
}


def why_unread(extension: str) -> str | None:
    """Name the kind of unreadable files with this ``extension``, and what would help."""
    extension = extension.lower()
    if extension in READABLE:
        return None
    if extension in _PLUGGED:
        return f"{extension} (pip install 'lpnsr[{_PLUGGED[extension].lower()}]' reads them)"
    return next(
        (f"{extension} ({kind})" for kind, ends in _NAMED.items() if extension in ends), extension or "no ending"
    )


def format_of(path: str | os.PathLike[str]) -> Format:
    """Return the format that the extension of ``path`` names. Raises OutputError for an unknown one."""
    suffix = Path(path).suffix.lower()
    if suffix not in EXTENSIONS:
        raise OutputError(f"{path}: the extension {suffix!r} names no format; use one of {', '.join(EXTENSIONS)}")
    return FORMATS[EXTENSIONS[suffix]]


def check_size(path: str | os.PathLike[str], height: int, width: int) -> None:
    """Raise OutputError if the format of ``path`` cannot hold an image this large. Ask before the work."""
    form = format_of(path)
    if max(height, width) > form.max_side:
        raise OutputError(
            f"{path}: {form.name} holds at most {form.max_side} pixels a side, and this result has "
            f"{width} x {height}; write a .png or .tif instead, or make it smaller"
        )
