"""Image files below a folder, and names that mean one file."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from lpnsr.imaging.codecs.formats import READABLE, why_unread


def images_below(folder: Path) -> list[Path]:
    """List the image files below ``folder`` by extension, sorted, without hidden ones and hidden folders."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in READABLE and path.is_file())
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))


def left_out(paths: Iterable[Path]) -> str | None:
    """Describe the files among ``paths`` that are no readable images; None if all are."""
    kinds = Counter(kind for path in paths if (kind := why_unread(path.suffix)) is not None)
    if not kinds:
        return None
    count = sum(kinds.values())
    listed = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    return f"left out {count} {'file' if count == 1 else 'files'} that cannot be read as images: {listed}"


def name_key(path: Path | str) -> str:
    """Return a key that is equal for paths of one file: on Windows and macOS whatever the case, through links."""
    key = os.path.normcase(os.path.realpath(path))
    return unicodedata.normalize("NFC", key).casefold() if sys.platform == "darwin" else key
