"""``Cache``: numbers computed earlier, as JSON lines, so that a killed run resumes.

A line is whole or ignored, so a line that a kill cut short is computed again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from lpnsr.errors import OutputError

Values = dict[str, float | None]
"""Numbers by name; None where there is none, such as a metric's for an image that it cannot score."""


class Cache:
    """Numbers in the file ``path``, made at the first result. Threads may share it. Raises OutputError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._values: dict[str, Values] = {}
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{path}: cannot be read: {reason}; move it away to start afresh") from None
        for line in text.split("\n"):
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                entry = json.loads(line)
                values = {name: None if v is None else float(v) for name, v in entry["values"].items()}
                if all(v is None or math.isfinite(v) for v in values.values()):
                    self._values[entry["key"]] = values

    def get(self, key: Mapping[str, object]) -> Values | None:
        """Return the values known under ``key``, a JSON object of all that the numbers depend on."""
        return self._values.get(_digest(key))

    def put(self, key: Mapping[str, object], values: Values, about: Mapping[str, object]) -> None:
        """Keep ``values``; ``about`` is for readers of the file. Raises OutputError if it cannot be written."""
        digest = _digest(key)
        text = json.dumps({"key": digest, "values": values, **about}, ensure_ascii=False)
        line = text.encode(errors="surrogateescape") + b"\n"  # any file name
        with self._lock:
            self._values[digest] = dict(values)
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("ab+") as file:
                    file.write(line if _ends_a_line(file) else b"\n" + line)
            except OSError as error:
                raise OutputError(f"{self._path}: cannot be written: {error.strerror or error}") from None


def _ends_a_line(file: BinaryIO) -> bool:
    if not file.seek(0, 2):
        return True
    file.seek(-1, 2)
    return file.read(1) == b"\n"


def _digest(key: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
