"""Files that appear whole, under their names, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

try:
    import fcntl
except ImportError:  # Windows, where a file that somebody writes cannot be deleted
    fcntl = None  # type: ignore[assignment]

from lpnsr.errors import LpnsrError, OutputError

_TEMPORARY = ".lpnsr-*.tmp"


class AtomicFile:
    """A file beside ``target`` that takes its place by ``commit``; without, it vanishes when the context ends.

    Raises OutputError for errors of the system, in the context too.
    """

    def __init__(self, target: str | os.PathLike[str]) -> None:
        self.target = Path(target)
        self.path = self.target.parent / _TEMPORARY.replace("*", secrets.token_hex(6))
        try:
            if self.target.is_dir():
                raise OutputError(f"{self.target}: there is a folder of this name")
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self.file: BinaryIO = os.fdopen(os.open(self.path, flags, 0o666), "w+b")
        except (OSError, ValueError) as error:
            raise self.told(error) from None
        with suppress(OSError):  # some network disks have no locks
            _lock(self.file.fileno())

    def commit(self) -> None:
        """Put the file in its place."""
        self.file.flush()
        os.fsync(self.file.fileno())
        if fcntl is None:
            self.file.close()
        os.replace(self.path, self.target)  # noqa: PTH105 (the name that says atomic)
        self.file.close()  # only now: an unlocked one is taken for a leftover

    def discard(self) -> None:
        """Delete the temporary file; do nothing after ``commit``."""
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        self.discard()
        if error is not None and (told := self.told(error)) is not error:
            raise told from None

    def told(self, error: BaseException) -> BaseException:
        """Return an OutputError for what the system refused; any other error as it is."""
        if isinstance(error, LpnsrError) or not isinstance(error, (OSError, ValueError)):
            return error
        return OutputError(f"{self.target}: {_what_failed(error, self.target)}")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Put ``data`` into the file ``path`` by an atomic rename. Raises OutputError."""
    with AtomicFile(path) as atomic:
        atomic.file.write(data)
        atomic.commit()


def make_folder_of(path: str | os.PathLike[str]) -> None:
    """Make the folder of the file ``path``, and those above it. Raises OutputError."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"{target}: {_what_failed(error, target)}") from None


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise OutputError if ``path`` or its folder plainly cannot be written. Call it before the work."""
    target = Path(path)
    try:
        target.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise OutputError(f"{target}: {_what_failed(error, target)}") from None
    if target.is_dir():
        raise OutputError(f"{target}: there is a folder of this name")
    folder = next(folder for folder in target.absolute().parents if folder.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{target}: no permission to write into {folder}; write elsewhere")


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Delete the temporary files of killed writers in ``folder``; writers still at work hold a lock."""
    found: list[Path] = []
    with suppress(OSError):  # what is wrong with the folder is told by writing into it
        found.extend(Path(folder).glob(_TEMPORARY))
    for path in found:
        with suppress(OSError), path.open("rb") as file:
            _lock(file.fileno())
            path.unlink()


def _lock(descriptor: int) -> None:
    """Lock an open file until it is closed or the process dies. Raises OSError if another process has it."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def refusal(error: BaseException, target: Path) -> str | None:
    """Explain why the system refused to write ``target`` and what to do; None for an error of another kind."""
    known = {
        errno.ENOSPC: "the disk is full; make room or write elsewhere",
        errno.EDQUOT: "the disk quota is used up; make room or write elsewhere",
        errno.EFBIG: "the file is larger than the system allows here; write elsewhere",
        errno.EROFS: "the disk is read-only; write elsewhere",
        errno.EACCES: f"no permission to write into {target.parent}",
        errno.EPERM: f"no permission to write into {target.parent}",
        errno.ENOENT: f"there is no folder {target.parent}, or nothing can be made in it; write elsewhere",
        errno.ENOTDIR: f"{target.parent} is not a folder",
        errno.EEXIST: f"{target.parent} is not a folder",
        errno.ENAMETOOLONG: "the file name is too long",
    }
    return known.get(getattr(error, "errno", 0) or 0)


def _what_failed(error: OSError | ValueError, target: Path) -> str:
    return refusal(error, target) or f"cannot be written: {error}"
