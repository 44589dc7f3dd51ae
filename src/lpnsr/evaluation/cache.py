"""Scores that were computed before, by what they depend on: a run that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from lpnsr.errors import OutputError
from lpnsr.evaluation.metrics import Metric


class ScoreCache:
    """Scores in a file of JSON lines that only grows. A line that a killed run left unfinished counts as absent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._known: dict[str, float] = {}
        with suppress(FileNotFoundError):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    record = json.loads(line)
                    if math.isfinite(record["value"]):
                        self._known[str(record["key"])] = float(record["value"])

    def get(self, key: str) -> float | None:
        return self._known.get(key)

    def put(self, key: str, value: float, **notes: str) -> None:
        """Remember a score; ``notes`` are for people who read the file. Raises OutputError."""
        line = json.dumps({"key": key, "value": value} | notes).encode() + b"\n"
        with self._lock:
            self._known[key] = value
            try:
                with self.path.open("ab+") as file:
                    file.write(line if _ends_a_line(file) else b"\n" + line)
            except OSError as error:
                raise OutputError(f"{self.path}: cannot be written: {error.strerror or error}") from None


def _ends_a_line(file: BinaryIO) -> bool:
    if not file.seek(0, 2):
        return True
    file.seek(-1, 2)
    return file.read(1) == b"\n"


def score_key(metric: Metric, sr_hash: str, hr_hash: str | None) -> str:
    """Of everything that a score depends on: the contents of both files, the metric, its protocol and version."""
    reference = hr_hash if metric.needs_reference else None
    parts = [metric.name, metric.protocol, metric.version, sr_hash, reference]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
