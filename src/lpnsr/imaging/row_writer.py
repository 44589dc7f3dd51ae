"""A photo written while it is made: its strips are encoded in a thread of their own."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import replace
from functools import partial

from lpnsr.imaging.codecs.formats import check_size, format_of
from lpnsr.imaging.photo import Photo
from lpnsr.imaging.rows import PhotoRows
from lpnsr.imaging.writing import encode_rows
from lpnsr.system.atomic import AtomicFile


class _Abandoned(Exception):  # noqa: N818 (nobody sees it)
    """The file is not wanted any more."""


class RowWriter:
    """Writes a photo like ``write_rows``, strip by strip: ``put`` them all, then ``finish``, ``wait`` and ``commit``.

    ``rows`` tells what is written, but for its strips. At most ``ahead`` bytes of strips, and one strip, wait
    for the encoder; ``put`` waits for room. Whatever goes wrong in the encoder is raised by ``put`` or ``wait``.
    """

    def __init__(
        self,
        rows: PhotoRows,
        path: str | os.PathLike[str],
        *,
        quality: int | None = None,
        frugal: bool = False,
        ahead: int = 1 << 26,
    ) -> None:
        name = os.fspath(path)
        check_size(name, rows.height, rows.width)
        self._atomic = AtomicFile(name)
        self._ahead = ahead
        self._strips: deque[Photo] = deque()
        self._waiting = 0  # bytes
        self._state = "open"
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        fed = replace(rows, strips=self._coming())
        encode = partial(encode_rows, fed, self._atomic.file, format_of(name), name, quality, frugal=frugal)
        self._thread = threading.Thread(target=copy_context().run, args=(self._run, encode), daemon=True)
        self._thread.start()

    @property
    def path(self) -> str:
        """Path of the file until it is committed; complete after ``wait``."""
        return os.fspath(self._atomic.path)

    def put(self, strip: Photo) -> None:
        """Hand over the next rows."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._waiting <= self._ahead)
            if self._error:
                raise self._error
            self._strips.append(strip)
            self._waiting += _size(strip)
            self._changed.notify_all()

    def finish(self) -> None:
        """State that all rows were put."""
        self._set("finished")

    def wait(self) -> None:
        """Wait until all is encoded."""
        self._thread.join()
        if self._error:
            raise self._error

    def commit(self) -> None:
        """Give the file its name."""
        with self._atomic:
            self._atomic.commit()

    def abandon(self) -> None:
        """Discard the file, unless it was committed."""
        self._set("abandoned")
        self._thread.join()
        self._atomic.discard()

    def _set(self, state: str) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()

    def _run(self, encode: Callable[[], None]) -> None:
        try:
            encode()
            self._atomic.file.flush()
        except BaseException as error:
            with self._changed:
                self._error = self._atomic.told(error)
                self._changed.notify_all()

    def _coming(self) -> Iterator[Photo]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._strips or self._state != "open")
                if self._state == "abandoned":
                    raise _Abandoned
                if not self._strips:
                    return
                strip = self._strips.popleft()
                self._waiting -= _size(strip)
                self._changed.notify_all()
            yield strip


def _size(strip: Photo) -> int:
    return int(strip.pixels.nbytes) + (0 if strip.alpha is None else int(strip.alpha.nbytes))
