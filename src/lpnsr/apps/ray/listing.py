"""The names of a batch in a file on a disk, so that memory does not limit their number."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from lpnsr.imaging import name_key


class Entry(NamedTuple):
    """An image: the number of its place among the inputs', and its name there."""

    place: int
    name: str


class Listing:
    """The images that were found, at most one for each result, and those of them that are to be done."""

    def __init__(self, file: Path) -> None:
        self._database = _connect(file)
        self._database.execute("CREATE TABLE found (id INTEGER PRIMARY KEY, place INTEGER, name BLOB)")
        self._database.execute("CREATE TABLE todo (id INTEGER PRIMARY KEY, place INTEGER, name BLOB)")
        self._database.execute("CREATE TABLE writers (key INTEGER PRIMARY KEY, id INTEGER)")
        self._database.execute("CREATE TABLE beside (key INTEGER PRIMARY KEY, id INTEGER)")
        self.found = self.todo = 0

    def find(self, entry: Entry, target: str, beside: str | None = None) -> Entry | None:
        """Add ``entry``, whose result is ``target``; or return the earlier entry with this result.

        beside: its own name among the targets, where it lies among them.
        """
        key = _hashed(target)
        try:
            self._database.execute("INSERT INTO writers VALUES (?, ?)", (key, self.found))
        except sqlite3.IntegrityError:
            other = "SELECT place, name FROM found JOIN writers USING (id) WHERE key = ?"
            return _entry(self._database.execute(other, (key,)).fetchone())
        self._database.execute("INSERT INTO found VALUES (?, ?, ?)", (self.found, *_stored(entry)))
        if beside is not None:
            self._database.execute("INSERT OR IGNORE INTO beside VALUES (?, ?)", (_hashed(beside), self.found))
        self.found += 1
        return None

    def replaced(self) -> tuple[Entry, Entry] | None:
        """Return an entry whose result would replace another input, and that input."""
        pair = "SELECT writers.id, beside.id FROM writers JOIN beside USING (key)"
        ids = self._database.execute(pair).fetchone() or ()
        found = "SELECT place, name FROM found WHERE id = ?"
        entries = [_entry(self._database.execute(found, (each,)).fetchone()) for each in ids]
        return (entries[0], entries[1]) if entries else None

    def all(self, size: int) -> Iterator[list[Entry]]:
        """The images that were found, ``size`` entries at a time."""
        return _read(self._database, "found", size)

    def add(self, entry: Entry) -> None:
        """Add an entry to those that are to be done."""
        self._database.execute("INSERT INTO todo VALUES (?, ?, ?)", (self.todo, *_stored(entry)))
        self.todo += 1

    def close(self) -> None:
        """Commit the listing and close its file."""
        self._database.commit()
        self._database.close()


def bundles(file: Path, size: int) -> Iterator[list[Entry]]:
    """The entries that are to be done, ``size`` at a time: the same in every call."""
    with closing(_connect(file)) as database:
        yield from _read(database, "todo", size)


def _read(database: sqlite3.Connection, table: str, size: int) -> Iterator[list[Entry]]:
    rows = database.execute(f"SELECT place, name FROM {table} ORDER BY id")
    while some := rows.fetchmany(size):
        yield [_entry(row) for row in some]


def _connect(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file)
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -16384"):  # it lives as long as the run
        database.execute(f"PRAGMA {setting}")
    return database


def _stored(entry: Entry) -> tuple[int, bytes]:
    return entry.place, os.fsencode(entry.name)  # bytes: not every name is text


def _entry(row: tuple[int, bytes]) -> Entry:
    return Entry(row[0], os.fsdecode(row[1]))


def _hashed(target: str) -> int:
    return int.from_bytes(hashlib.blake2b(_key(target), digest_size=8).digest(), signed=True)


def _key(target: str) -> bytes:
    return os.fsencode(name_key(target) if sys.platform in ("darwin", "win32") else target)
