"""State that the handlers of the page share: devices, folders, visitors."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lpnsr.apps.jobs import Limits, Models, StorageError
from lpnsr.apps.jobs.store import Store
from lpnsr.apps.web.fleet import Fleet, Ticket

_log = logging.getLogger(__name__)
_SWEEP = 10.0  # seconds between two looks for files that are too old
_MOST_VISITORS = 10_000


@dataclass(frozen=True)
class Upload:
    """A file that a visitor has sent, and what they call it."""

    path: Path
    name: str


@dataclass
class Visitor:
    """One open tab. tickets: the job at hand of each part of the page. finished: of batches, by file and options.

    photo: what the page shows for the photograph; of an example, the page itself does not always know it.
    downloads: results in the formats chosen, the newest last. folders: where files for this visitor are.
    """

    tickets: dict[str, Ticket] = field(default_factory=dict)
    finished: dict[tuple[str, str], Ticket] = field(default_factory=dict)
    photo: Upload | None = None
    downloads: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    batches: int = 0
    stopped: int = 0

    def at_work(self, part: str) -> bool:
        """Tell whether the job of a part of the page waits or runs."""
        return part in self.tickets and self.tickets[part].at_work

    def cancel(self, part: str) -> None:
        """End the job of a part of the page, if there is one."""
        if part == "batch":
            self.stopped = self.batches
        if part in self.tickets:
            self.tickets[part].cancel()


class Desk:
    """uploads: Gradio's folder; shown: what the page shows and hands out. Both are deleted at the end."""

    def __init__(self, fleet: Fleet, *, max_batch: int = 500 * 2**20) -> None:
        self.fleet = fleet
        self.max_batch = max_batch
        self._store = Store()  # a temporary folder that a later process deletes if this one is killed
        self.uploads, self.shown = self._store.root / "uploads", self._store.root / "shown"
        self.uploads.mkdir(mode=0o700)
        self.shown.mkdir(mode=0o700)
        self._visitors: dict[str, Visitor] = {}
        self._examples: set[Path] = set()  # what the page itself has put there
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="lpnsr-web-sweeper", daemon=True)

    @property
    def limits(self) -> Limits:
        return self.fleet.first.limits

    @property
    def models(self) -> Models:
        return self.fleet.first.models

    def start(self) -> None:
        self._examples = {*self.uploads.iterdir()}
        self.fleet.start()
        self._sweeper.start()

    def close(self) -> None:
        self._closed.set()
        self.fleet.close()
        self._store.close()

    def visitor(self, request: Any) -> Visitor:
        """Return the visitor whose tab a request comes from."""
        with self._lock:
            session = str(request.session_hash)
            if session not in self._visitors and len(self._visitors) >= _MOST_VISITORS:
                del self._visitors[next(iter(self._visitors))]
            return self._visitors.setdefault(session, Visitor())

    def leave(self, request: Any) -> None:
        """End the jobs of a tab that was closed, and delete their results.

        Its uploads are deleted when they are old: Gradio keeps equal files of several visitors once.
        """
        with self._lock:
            visitor = self._visitors.pop(str(request.session_hash), None)
        if visitor is not None:
            visitor.stopped = visitor.batches
            try:
                for ticket in [*visitor.tickets.values(), *visitor.finished.values()]:
                    ticket.delete()
            finally:
                for folder in [*visitor.folders]:
                    shutil.rmtree(folder, ignore_errors=True)

    def submit(
        self, visitor: Visitor, part: str, upload: Upload, options: dict[str, Any], device: str, owner: str, **how: Any
    ) -> Ticket:
        """Put a job into the queue of a device.

        The earlier job of the same part is ended and its result deleted, but for a batch. Raises as ``Engine.submit``.
        """
        engine = self.fleet.pick(device)
        earlier = visitor.tickets.get(part) if part != "batch" else None
        if earlier is not None:
            earlier.cancel()
        ticket = Ticket(engine, engine.submit(upload.path, options, owner=owner, name=upload.name, **how))
        visitor.tickets[part] = ticket
        if earlier is not None:
            earlier.delete()
        return ticket

    def new_file(self, visitor: Visitor, name: str) -> Path:
        """Return a path for a file of this name, in a new folder that nobody can guess. Raises StorageError."""
        if not self.room():
            raise StorageError("this server has no room for more files now; try again later")
        folder = self.shown / secrets.token_urlsafe(16)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise StorageError(f"nothing can be stored: {error.strerror or error}") from None
        visitor.folders.append(folder)
        return folder / name

    def drop(self, visitor: Visitor, path: Path) -> None:
        """Delete a file of ``new_file`` and its folder."""
        shutil.rmtree(path.parent, ignore_errors=True)
        with suppress(ValueError):
            visitor.folders.remove(path.parent)

    def handed_out(self, visitor: Visitor, path: Path, name: str) -> Path:
        """Link, or else copy, the file ``path`` under another name. Raises StorageError."""
        target = self.new_file(visitor, name)
        try:
            os.link(path, target)
        except OSError:
            try:
                shutil.copyfile(path, target)
            except OSError as error:
                self.drop(visitor, target)
                raise StorageError(f"{name} cannot be stored: {error.strerror or error}") from None
        return target

    def room(self) -> bool:
        """Tell whether there is room for another file; the bytes of all visitors together are limited."""
        sizes: dict[tuple[int, int], int] = {}  # by inode: links to a file take no room
        for folder, _, names in os.walk(self._store.root):  # rglob fails where a folder goes meanwhile
            for name in names:
                with suppress(OSError):
                    stat = Path(folder, name).stat()
                    sizes[stat.st_dev, stat.st_ino] = stat.st_size
        return sum(sizes.values()) < self.limits.max_stored

    def sweep(self) -> None:
        """Delete folders whose files are too old, and uploads that were broken off, which are plain files."""
        for path in {*self.uploads.iterdir(), *self.shown.iterdir()} - self._examples:
            with suppress(OSError):
                inside = [*path.iterdir()] if path.is_dir() else []
                newest = max(each.stat().st_mtime for each in (path, *inside))
                if time.time() - newest <= self.limits.ttl:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()

    def _sweep(self) -> None:
        while not self._closed.wait(_SWEEP):
            try:
                self.sweep()
            except Exception:
                _log.exception("looking for files that are too old failed")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file. Raises StorageError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"the file cannot be read: {error.strerror or error}") from None
