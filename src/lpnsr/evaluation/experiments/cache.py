"""``Cache``: results of single images as JSON lines; a killed run goes on where it was, and experiments share results.

A line is whole or ignored, so a line that a kill cut short is computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lpnsr.errors import OutputError

Values = dict[str, float | None]
"""Numbers by name; None where there is none, such as a metric's for an image that it cannot score."""


class Cache:
    """The file ``path``, made at the first result. Raises OutputError if it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Values] = {}
        try:
            lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise OutputError(f"{path} cannot be read: {error}. Move it away to start afresh") from None
        # A last line without its end is of a killed run; what comes next begins on a line of its own.
        self._torn = bool(lines) and lines[-1] != ""
        for line in lines:
            try:
                entry = json.loads(line)
                self._values[entry["key"]] = dict(entry["values"])
            except (ValueError, KeyError, TypeError):
                continue

    def get(self, key: Mapping[str, Any]) -> Values | None:
        """What is known under ``key``, a JSON object."""
        return self._values.get(_digest(key))

    def put(self, key: Mapping[str, Any], values: Values, about: Mapping[str, Any]) -> None:
        """Keep ``values``; ``about`` is for people who read the file."""
        digest = _digest(key)
        self._values[digest] = dict(values)
        line = json.dumps({"key": digest, "values": values, **about}, ensure_ascii=False)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(("\n" if self._torn else "") + line + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error}") from None
        self._torn = False


def _digest(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
