"""Folders on this machine's disks or behind a URL, by one interface.

A name without ``://``, ``file://`` and ``local://`` are disks. Any other URL is fsspec's, chains such as
``zip://::file:///photos.zip`` included, or pyarrow's where fsspec's package for it is not installed (s3, gs, hdfs).
"""

from __future__ import annotations

import os
import re
import secrets
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from lpnsr.errors import ConfigError, ImageReadError, InputError, LpnsrWarning, OutputError
from lpnsr.imaging import READABLE
from lpnsr.system.atomic import check_writable

_T = TypeVar("_T")
_DISK = re.compile(r"^(?:file|local)://")
_PUTS_WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "hf"}
"""Stores in which an object appears whole; elsewhere a file is written under another name first."""
_TRIES = 3
_READ_ONLY = ("http://", "https://")
_PASSWORD = re.compile(r"(://[^/@:]*:)[^/@]*@")


def is_url(text: str) -> bool:
    """Tell whether ``text`` is a URL and no name on a disk."""
    return "://" in text and not _DISK.match(text)


def on_disk(text: str) -> str:
    """A name on a disk without ``file://`` and ``~``."""
    return str(Path(_DISK.sub("", text)).expanduser())


class Place:
    """A folder, which need not exist. Names in it are relative, with slashes. Can be pickled."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.local = None if is_url(text) else Path(on_disk(text)).absolute()

    def __reduce__(self) -> tuple[type[Place], tuple[str]]:
        return Place, (self.text if self.local is None else str(self.local),)

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        """fsspec's file system and the path in it. Raises ConfigError."""
        return _open(self.text)

    def name(self, relative: str = "") -> str:
        """The name of ``relative`` in messages and in the manifest: an absolute path, or a URL without passwords."""
        return _PASSWORD.sub(r"\1***@", self._full(relative))

    def below(self, relative: str) -> Place:
        """The place of this name."""
        return Place(self._full(relative))

    def _full(self, relative: str) -> str:
        if self.local is not None:
            return str(self.local / relative)
        first, *chain = self.text.split("::")
        first, mark, query = first.partition("?")
        root = first if first.endswith("://") or not relative else first.rstrip("/") + "/"
        return "::".join([root + relative + mark + query, *chain])

    def is_dir(self, relative: str = "") -> bool:
        """Tell whether there is such a folder."""
        if self.local is not None:
            return os.path.isdir(self.local / relative)  # noqa: PTH112 (false for names that no file can have)
        fs, root = self._remote
        return bool(self._tried(lambda: fs.isdir(_join(root, relative)), InputError, relative))

    def check_writable(self) -> None:
        """Raise OutputError if plainly nothing can be written into this folder, and ConfigError for a web address."""
        if any(part.startswith(_READ_ONLY) for part in self.text.split("::")):
            raise ConfigError(
                f"{self.name()}: nothing can be written to a web address; give a folder, or the URL of a store"
            )
        if self.local is not None and not self.is_dir():
            check_writable(self.local)
        elif self.local is not None and not os.access(self.local, os.W_OK | os.X_OK):
            raise OutputError(f"{self.name()}: no permission to write into this folder; write elsewhere")

    def exists(self, relative: str) -> bool:
        """Tell whether anything has this name."""
        if self.local is not None:
            return os.path.lexists(self.local / relative)
        fs, root = self._remote
        return bool(self._tried(lambda: fs.exists(_join(root, relative)), OutputError, relative))

    def within(self, other: Place) -> str | None:
        """Its name in ``other``, empty if it is that; or None if it lies elsewhere."""
        if self.local is not None and other.local is not None:
            here, there = (os.path.realpath(each.local or "") for each in (self, other))
        else:
            here, there = self.name().rstrip("/"), other.name().rstrip("/")
        here, there = (each.replace(os.sep, "/").rstrip("/") + "/" for each in (here, there))
        return here.removeprefix(there).rstrip("/") if here.startswith(there) else None

    def same(self, relative: str, other: Place, there: str = "") -> bool:
        """Tell whether ``relative`` is the file or folder ``there`` in ``other``, through links on a disk."""
        if self.local is not None and other.local is not None:
            with suppress(OSError, ValueError):
                return (other.local / there).samefile(self.local / relative)
            return False
        if self.local is not None or other.local is not None:
            return False
        if self._full(relative).rstrip("/") == other._full(there).rstrip("/"):
            return True
        (fs, root), (other_fs, other_root) = self._remote, other._remote
        return bool(fs == other_fs and _join(root, relative).strip("/") == _join(other_root, there).strip("/"))

    def fetch(self, relative: str, file: Path) -> None:
        """Copy to a file on a disk. Raises ImageReadError."""
        fs, root = self._remote
        self._tried(lambda: fs.get_file(_join(root, relative), str(file)), ImageReadError, relative)

    def put(self, file: Path, relative: str) -> None:
        """Copy a file from a disk; it appears whole or not at all. Raises OutputError."""
        fs, root = self._remote
        target = _join(root, relative)

        def copy() -> None:
            if self.text.partition("://")[0] in _PUTS_WHOLE:
                fs.put_file(str(file), target)
                return
            folder, _, _ = target.rpartition("/")
            if folder:
                fs.makedirs(folder, exist_ok=True)
            beside = _join(folder, f".lpnsr-{secrets.token_hex(6)}.tmp")
            try:
                fs.put_file(str(file), beside)
                fs.mv(beside, target)
            except BaseException:
                if fs.exists(beside):
                    fs.rm_file(beside)
                raise

        self._tried(copy, OutputError, relative)

    def images(self, *, recursive: bool, leave_out: Place) -> Iterator[str]:
        """The images by extension, as they come; hidden ones, and what is in ``leave_out``, are none.

        Disks are read entry by entry; of what is behind a URL a folder's listing is in memory at a time.
        """
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            for name, kind in self._entries(folder):
                relative = f"{folder}/{name}" if folder else name
                if name.startswith("."):
                    continue
                if kind == "directory":
                    if recursive and not self.same(relative, leave_out):
                        waiting.append(relative)
                elif kind == "file" and PurePosixPath(name).suffix.lower() in READABLE:
                    yield relative

    def _entries(self, folder: str) -> Iterator[tuple[str, str]]:
        """(name, directory | file | link to a directory)."""
        try:
            if self.local is not None:
                with os.scandir(self.local / folder) as entries:
                    for entry in entries:
                        kind = "file"  # also a link to itself, of which the system refuses to tell
                        with suppress(OSError):
                            if entry.is_dir():
                                kind = "link" if entry.is_symlink() else "directory"
                        yield entry.name, kind
                return
            fs, root = self._remote
            for found in self._tried(lambda: fs.ls(_join(root, folder), detail=True), OSError, folder):
                name = found["name"].rstrip("/").rpartition("/")[2]
                if found["name"].strip("/") != _join(root, folder).strip("/"):  # some list the folder itself
                    yield name, "directory" if found["type"] == "directory" else "file"
        except OSError as error:
            warnings.warn(f"{self.name(folder)} cannot be listed, and is left out: {error}", LpnsrWarning, stacklevel=2)

    def _tried(self, work: Callable[[], _T], kind: type[Exception], relative: str) -> _T:
        """``work()``, again after what may pass; what stays becomes an error of ``kind``."""
        for attempt in range(_TRIES):
            try:
                return work()
            except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
                raise kind(f"{self.name(relative)}: {_reason(error)}") from None
            except Exception as error:  # every store has exceptions of its own
                if attempt == _TRIES - 1:
                    raise kind(f"{self.name(relative)}: {_reason(error)} ({_TRIES} tries)") from None
                time.sleep(2.0**attempt)
        raise AssertionError


def _open(url: str) -> tuple[Any, str]:
    import fsspec.core

    try:
        return fsspec.core.url_to_fs(url, use_listings_cache=False)  # type: ignore[no-any-return]
    except ImportError as error:
        found = _open_by_pyarrow(url)
        if found is None:
            raise ConfigError(f"{url}: a package for such URLs is missing: {_reason(error)}") from None
        return found
    except Exception as error:
        raise ConfigError(f"{url} is no folder that can be reached: {_reason(error)}") from None


def _open_by_pyarrow(url: str) -> tuple[Any, str] | None:
    import pyarrow.fs
    from fsspec.implementations.arrow import ArrowFSWrapper

    try:
        fs, root = pyarrow.fs.FileSystem.from_uri(url)
    except pyarrow.ArrowInvalid:
        return None
    except Exception as error:
        raise ConfigError(f"{url} is no folder that can be reached: {_reason(error)}") from None
    return ArrowFSWrapper(fs), root


def _join(root: str, relative: str) -> str:
    return f"{root.rstrip('/')}/{relative}" if root and relative else root or relative


def _reason(error: Exception) -> str:
    known: dict[type[Exception], str] = {FileNotFoundError: "there is no such file", PermissionError: "no permission"}
    text = " ".join(str(error).split())
    return known.get(type(error)) or text or type(error).__name__
