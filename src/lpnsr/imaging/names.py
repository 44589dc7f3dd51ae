"""Which files below a folder are images, and which names mean one file."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

from lpnsr.imaging.codecs.formats import EXTENSIONS


def images_below(folder: Path) -> list[Path]:
    """The image files below ``folder`` by extension, sorted; hidden ones, and all in hidden folders, are none."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))


def name_key(path: Path | str) -> str:
    """Equal for paths that are, or would be, one file: on Windows and macOS whatever the case, through links."""
    key = os.path.normcase(os.path.realpath(path))
    return unicodedata.normalize("NFC", key).casefold() if sys.platform == "darwin" else key
