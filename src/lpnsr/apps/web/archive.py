"""Zip files of photographs, whose paths are never used as they are, and the zip file of the results."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO

from lpnsr.apps.jobs.settings import clean_name
from lpnsr.apps.web.desk import Upload
from lpnsr.errors import InputError, OutputError

MOST_FILES = 1000
_IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db")


@dataclass(frozen=True)
class Member:
    """A photograph of a batch: a file, or an entry of a zip. name: with the folders that it had there."""

    name: str
    file: Path
    entry: str | None = None

    def save(self, target: Path, limit: int) -> None:
        """Copy it to ``target``, up to one byte more than ``limit``. Raises InputError."""
        try:
            if self.entry is None:
                with self.file.open("rb") as source:
                    _copy(source, target, limit)
            else:
                with zipfile.ZipFile(self.file) as archive, archive.open(self.entry) as source:
                    _copy(source, target, limit)
        except Exception as error:  # decompressors have many of their own
            what = "taken out of its zip file" if self.entry else "read"
            raise InputError(f"{self.name}: it cannot be {what} ({_reason(error)})") from None


def members(uploads: Iterable[Upload]) -> list[Member]:
    """List the photographs of a batch. Raises InputError for a zip that cannot be read, or for too many files."""
    found: list[Member] = []
    for upload in uploads:
        for member in _members(upload):
            if len(found) == MOST_FILES:
                raise InputError(f"these are more than {MOST_FILES} files, which is the limit; make several batches")
            found.append(member)
    if not found:
        raise InputError("there are no photographs; drop image files, or a zip file of them")
    return found


def _members(upload: Upload) -> Iterator[Member]:
    if not zipfile.is_zipfile(upload.path):
        yield Member(upload.name, upload.path)
        return
    try:
        with zipfile.ZipFile(upload.path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(f"{upload.name}: this zip file cannot be read ({error})") from None
    for entry in entries:
        if not entry.is_dir() and not any(part in _IGNORED for part in PurePath(entry.filename).parts):
            yield Member(_inside(entry.filename), upload.path, entry.filename)


def _inside(name: str) -> str:
    """Return the path ``name`` without parts that lead elsewhere."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(clean_name(part) for part in parts) or "image"


def _copy(source: IO[bytes], target: Path, limit: int) -> None:
    left = limit + 1  # one more than allowed is enough to be refused
    with target.open("wb") as file:
        while left > 0 and (piece := source.read(min(left, 1 << 20))):
            file.write(piece)
            left -= len(piece)


class Results:
    """A zip that is written result by result; ``report.csv`` in it tells of every file. Raises OutputError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._names: set[str] = set()
        self._lines: list[tuple[str, ...]] = [("file", "state", "result", "what")]
        with _written():
            self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)

    def add(self, name: str, result: Path, file_name: str, state: str, what: str = "") -> str:
        """Put in the result of ``name``, beside it under ``file_name``. Raises OutputError."""
        wanted = (PurePath(name).parent / file_name).as_posix()
        free, number = wanted, 2
        while free.lower() in self._names:
            free, number = str(PurePath(wanted).with_stem(f"{PurePath(wanted).stem} ({number})")), number + 1
        self._names.add(free.lower())
        with _written():
            self._zip.write(result, free)
        self.count += 1
        self._lines.append((name, state, free, what))
        return free

    def same(self, name: str, other: str, result: str) -> None:
        """Note that ``name`` is the same file as ``other``, whose result is here under the name ``result``."""
        self._lines.append((name, "same", result, f"same as {other}"))

    def missing(self, name: str, state: str, what: str) -> None:
        """Note that there is no result, and the reason."""
        self._lines.append((name, state, "", what))

    def finish(self) -> None:
        """Write the report and close the file. Raises OutputError."""
        out = io.StringIO()
        csv.writer(out).writerows([_plain(cell) for cell in line] for line in self._lines)
        with _written(), self._zip:
            self._zip.writestr("report.csv", out.getvalue())


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"the zip file cannot be written: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return the message of an error without paths of the server."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _plain(cell: str) -> str:
    """Quote a cell that a spreadsheet would take for a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell
