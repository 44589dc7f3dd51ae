"""A hidden file that records the finished results of ``lpnsr degrade`` in a folder, so that a killed call goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from lpnsr import __version__
from lpnsr.degradation import DegradationRecipe
from lpnsr.errors import ConfigError, OutputError
from lpnsr.evaluation.files import content_hash
from lpnsr.system.atomic import write_bytes

NAME = ".lpnsr-degrade.jsonl"
_TOLD = 3


class Record:
    """The results in the folder ``out`` that this recipe, this seed and this version of lpnsr made.

    The file's first line states these settings; each other line names a photograph with the hashes of its file and of
    its result. Threads may share it.
    """

    def __init__(self, out: Path, recipe: DegradationRecipe, seed: int) -> None:
        self._out, self._path = out, out / NAME
        self._settings = {"lpnsr": __version__, "seed": seed, **recipe.model_dump(mode="json")}
        lines = _lines(self._path)
        self._before = lines[0] if lines else None
        known = lines[1:] if self._before == self._settings else []
        self._finished = {line["photo"]: line for line in known if {"photo", "sha256", "lr_sha256"} == set(line)}
        self._lock = Lock()

    def check(self) -> None:
        """Raise ConfigError if the folder holds results of other settings."""
        if self._before in (None, self._settings) or not any(self._out.rglob("*.png")):
            return
        old, new = _flat(self._before or {}), _flat(self._settings)
        differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        told = [f"{key} was {_short(old.get(key))} and is {_short(new.get(key))}" for key in differing[:_TOLD]]
        if len(differing) > _TOLD:
            told.append(f"{len(differing) - _TOLD} more")
        raise ConfigError(
            f"{self._out} holds results of another degradation ({', '.join(told)}): give --overwrite to make them "
            "anew, or another --out"
        )

    def write(self) -> None:
        """The whole file, in the order of the names; to be called before the first ``put`` and after the last."""
        lines = [self._settings, *(self._finished[name] for name in sorted(self._finished))]
        write_bytes(self._path, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def has(self, name: str, photo: Path, target: Path) -> bool:
        """Tell whether ``target`` is the result of ``photo`` as it is now. Raises ImageReadError."""
        line = self._finished.get(name)
        return line is not None and (line["sha256"], line["lr_sha256"]) == (content_hash(photo), content_hash(target))

    def put(self, name: str, photo_hash: str, result: bytes) -> None:
        """Note that ``result`` is about to be written: noted later, a kill could leave one that is not known."""
        line = {"photo": name, "sha256": photo_hash, "lr_sha256": hashlib.sha256(result).hexdigest()}
        with self._lock:
            self._finished[name] = line
            try:
                with self._path.open("a", encoding="ascii") as file:
                    file.write(json.dumps(line) + "\n")
            except OSError as error:
                raise OutputError(f"{self._path}: cannot be written: {error.strerror or error}") from None


def _lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of JSON lines; what is none, such as a line that was cut short, is an empty one."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be read: {error.strerror or error}; delete it, or use another --out"
        ) from None
    return [_object(line) for line in text.splitlines()]


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
