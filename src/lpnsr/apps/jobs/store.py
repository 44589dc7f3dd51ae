"""The folder in which jobs live: ``jobs/ID/`` with the input, the record and the result of each."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout
from pydantic import ValidationError

from lpnsr.apps.jobs.errors import StorageError, TooLargeError
from lpnsr.apps.jobs.inspect import renamed
from lpnsr.apps.jobs.record import JobRecord
from lpnsr.apps.jobs.settings import mebibytes
from lpnsr.errors import ConfigError, OutputError
from lpnsr.system.atomic import remove_leftovers, write_bytes

_log = logging.getLogger(__name__)
_RECORD, _INPUT, _LOCK = "job.json", "input", "lock"
_TEMPORARY = "lpnsr-jobs-"
_YOUNG = 60.0  # seconds in which a process that is just starting has locked its folder
_PIECE = 1 << 20


class Store:
    """A state folder that outlives the process, or, for None, a temporary one that ``close`` deletes.

    Both are readable by this user alone. Raises ConfigError if another process uses the folder, or if it cannot be had.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.kept = folder is not None
        try:
            self.root = _temporary() if folder is None else folder.expanduser().absolute()
            self._jobs = self.root / "jobs"
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._jobs.mkdir(mode=0o700, exist_ok=True)
            self._lock = FileLock(self.root / _LOCK, timeout=0)
            self._lock.acquire()
        except Timeout:
            raise ConfigError(
                f"{folder} is in use by another process; give each server a state folder of its own"
            ) from None
        except OSError as error:
            raise ConfigError(f"{folder or 'the folder for temporary files'} cannot be used: {error}") from None

    def folder(self, id_: str) -> Path:
        return self._jobs / id_

    def input(self, id_: str) -> Path:
        return self.folder(id_) / _INPUT

    def put(self, id_: str, source: bytes | Path | BinaryIO, limit: int) -> Path:
        """Copy what was uploaded into the folder of a new job. Raises TooLargeError, StorageError."""
        try:
            self.folder(id_).mkdir(mode=0o700)
            with self.input(id_).open("wb") as target:
                if isinstance(source, bytes):
                    _copy(memoryview(source), target, limit)
                elif isinstance(source, Path):
                    with source.open("rb") as file:
                        _copy(file, target, limit)
                else:
                    _copy(source, target, limit)
        except OSError as error:
            raise StorageError(f"the upload cannot be stored: {error.strerror or error}") from None
        return self.input(id_)

    def save(self, record: JobRecord) -> None:
        """Keep a record, if this folder is kept at all. Raises StorageError."""
        if self.kept:
            try:
                write_bytes(self.folder(record.id) / _RECORD, record.model_dump_json().encode())
            except OutputError as error:
                raise StorageError(renamed(error, self.folder(record.id), record.name)) from None

    def tidy(self, record: JobRecord) -> None:
        """Delete what a job that nobody is at work on needs no more."""
        needed = {_RECORD, record.result} if record.state.ended else {_RECORD, _INPUT}
        for path in [*self.folder(record.id).glob("*")]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in needed:
                with suppress(OSError):
                    path.unlink()

    def remove(self, id_: str) -> None:
        shutil.rmtree(self.folder(id_), ignore_errors=True)

    def load(self) -> list[JobRecord]:
        """The records of an earlier process, in their order; what is incomplete or damaged is deleted."""
        found = []
        for folder in sorted(self._jobs.iterdir()):
            try:
                record = JobRecord.model_validate_json((folder / _RECORD).read_bytes())
                if record.id != folder.name:
                    raise ValueError("its id is that of another job")
            except (OSError, ValueError, ValidationError) as error:
                if (folder / _RECORD).exists():
                    _log.warning("job %s cannot be read and is dropped: %s", folder.name, error)
                shutil.rmtree(folder, ignore_errors=True)
                continue
            remove_leftovers(folder)
            found.append(record)
        return sorted(found, key=lambda record: record.number)

    def close(self) -> None:
        self._lock.release()
        if not self.kept:
            shutil.rmtree(self.root, ignore_errors=True)


def _temporary() -> Path:
    """A new temporary folder; those of processes that were killed, and so hold their locks no more, are deleted."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*/{_LOCK}"):
        with suppress(OSError, Timeout):
            if time.time() - lock.stat().st_mtime > _YOUNG:
                with FileLock(lock, timeout=0):
                    shutil.rmtree(lock.parent, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=_TEMPORARY))


def _copy(source: BinaryIO | memoryview, target: BinaryIO, limit: int) -> None:
    copied = 0
    while True:
        piece = source[copied : copied + _PIECE] if isinstance(source, memoryview) else source.read(_PIECE)
        if not piece:
            return
        copied += len(piece)
        if copied > limit:
            raise TooLargeError(f"the file has more than {mebibytes(limit)}, and that is the limit; send a smaller one")
        target.write(piece)
