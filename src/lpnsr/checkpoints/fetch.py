"""One file over HTTP: resumed, retried, checked and put in place by a rename.

    <target>.part        what has arrived so far
    <target>.part.json   the identity (ETag or date) and size of what is being fetched, to resume the same file only

The caller holds a lock: two fetches of one target at a time would share the ``.part``.
"""

from __future__ import annotations

import email.message
import errno
import http.client
import json
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from lpnsr.errors import DownloadError, OutputError
from lpnsr.system.hashes import file_sha256

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes here so far, and the bytes in all (None if unknown)."""

CHUNK = 1 << 18
TIMEOUT_S = 30.0
RETRIES = 5
BACKOFF_S = 1.0
RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Fetched:
    """A file that has arrived and passed its checks. ``size`` and ``sha256`` are measured here."""

    path: Path
    url: str
    size: int
    sha256: str


@dataclass(frozen=True)
class _Remote:
    """What the server says about the file: enough to know it again and to check it."""

    url: str
    validator: str | None = None
    """Its strong ETag, else its date: a server sends the rest of the same file only."""
    size: int | None = None
    sha256: str | None = None


class _TransientError(Exception):
    """The transfer broke off in a way that trying again may mend."""


def fetch(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_S,
    retries: int = RETRIES,
    backoff: float = BACKOFF_S,
) -> Fetched:
    """Bring ``url`` to ``target``, going on where an earlier transfer of the same file broke off.

    A transfer that breaks off is tried again ``retries`` times without progress, waiting ``backoff`` seconds
    and then twice as long each time. Checked are ``size`` and ``sha256`` if given, else what the server states.
    Raises DownloadError: not found, unreachable, wrong size or hash; OutputError: no room on the disk, or no
    right to write there.
    """
    part = target.with_name(target.name + ".part")
    failures, furthest = 0, _size(part)
    while True:
        try:
            remote = _transfer(url, part, size, progress or _silent, timeout)
            break
        except (_TransientError, http.client.HTTPException, OSError) as error:
            _give_up_on_the_disk(error, target)
            failures = 0 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures > retries or _is_unreachable(error):
                raise DownloadError(f"{url} cannot be fetched: {_reason(error)}") from None
            time.sleep(min(backoff * 2 ** max(failures - 1, 0), 60.0))
    return _accept(url, part, target, remote, size, sha256)


def _transfer(url: str, part: Path, size: int | None, progress: Progress, timeout: float) -> _Remote:
    """Fetch the rest of ``part`` in one request. Returns what the server said; raises _TransientError if cut short."""
    before = _read_note(part, url)
    offset = _size(part) if before else 0
    request = urllib.request.Request(url, headers={"User-Agent": "lpnsr", "Accept-Encoding": "identity"})
    if before and offset:
        request.add_header("Range", f"bytes={offset}-")
        if before.validator:
            request.add_header("If-Range", before.validator)
    linked = _LinkedFile()
    try:
        response = urllib.request.build_opener(linked).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        return _after_http_error(error, before, offset, part)
    with response:
        resumed = response.status == 206 and before is not None and _starts_at(response.headers, offset)
        if response.status == 206 and not resumed:
            _forget(part)
            raise _TransientError("the server sent another piece than the one asked for")
        remote = _describe(url, response, linked, offset if resumed else 0, size)
        if resumed and before and before.size not in (None, remote.size):
            _forget(part)
            raise _TransientError("the file on the server has changed")
        _check_room(part, remote.size, offset if resumed else 0)
        _note(part).write_text(json.dumps(asdict(remote)), encoding="utf-8")
        with part.open("ab" if resumed else "wb") as file:
            _copy(response, file, part.name.removesuffix(".part"), remote.size, progress)
    if remote.size is not None and _size(part) < remote.size:
        raise _TransientError(f"the connection closed after {_size(part)} of {remote.size} bytes")
    return remote


class _LinkedFile(urllib.request.HTTPRedirectHandler):
    """Follows redirects and keeps what the first server says about the file that it sends us to."""

    def __init__(self) -> None:
        self.sha256: str | None = None

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.sha256 = self.sha256 or _sha256_in(headers.get("X-Linked-Etag"))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _describe(
    url: str, response: http.client.HTTPResponse, linked: _LinkedFile, offset: int, size: int | None
) -> _Remote:
    headers = response.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        raise DownloadError(f"{url}: the server compresses the file on its way, which cannot be checked or resumed")
    if headers.get_content_type() == "text/html":
        raise DownloadError(f"{url} gave a web page instead of a file; is there a login page in between?")
    length = headers.get("Content-Length")
    total = offset + int(length) if length is not None and length.isdigit() else None
    if total is None and size is None and headers.get("Transfer-Encoding") != "chunked":
        raise DownloadError(f"{url}: the server does not say how long the file is, so it cannot be checked")
    etag = headers.get("ETag")
    stated = linked.sha256 or _sha256_in(headers.get("X-Linked-Etag")) or _sha256_in(etag)
    # A weak ETag does not promise the same bytes, so it cannot guard a resumed transfer.
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
    return _Remote(url, validator, total, stated)


def _after_http_error(error: urllib.error.HTTPError, before: _Remote | None, offset: int, part: Path) -> _Remote:
    if error.code == 416 and before is not None:
        # Nothing comes after what is here: it is complete, or it is not this file.
        if before.size == offset:
            return before
        _forget(part)
        raise _TransientError("the part of the file that was here does not fit the server's file")
    if error.code in RETRIED_STATUS:
        raise _TransientError(f"the server answered {error.code} {error.reason}")
    raise DownloadError(f"{error.url} cannot be fetched: the server answered {error.code} {error.reason}")


def _copy(source: IO[bytes], file: IO[bytes], name: str, total: int | None, progress: Progress) -> None:
    done = file.tell()
    progress(name, done, total)
    while chunk := source.read(CHUNK):
        file.write(chunk)
        done += len(chunk)
        progress(name, done, total)


def _accept(url: str, part: Path, target: Path, remote: _Remote, size: int | None, sha256: str | None) -> Fetched:
    """Check what has arrived and give it its name. What fails is deleted: resuming it would not help."""
    length, digest = _size(part), file_sha256(part)
    wanted_size, wanted_hash = size or remote.size, sha256 or remote.sha256
    problem = None
    if wanted_size is not None and length != wanted_size:
        problem = f"{length} bytes instead of {wanted_size}"
    elif wanted_hash is not None and digest != wanted_hash:
        problem = f"SHA-256 {digest} instead of {wanted_hash}"
    if problem:
        _forget(part)
        raise DownloadError(f"{url} arrived damaged, or is another file than expected: {problem}. Try again")
    part.replace(target)
    _forget(part)
    return Fetched(target, url, length, digest)


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path, url: str) -> _Remote | None:
    """What was noted about an earlier transfer from the same place; None if it cannot be resumed."""
    try:
        remote = _Remote(**json.loads(_note(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return remote if remote.url == url and remote.validator and part.is_file() else None


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _starts_at(headers: email.message.Message, offset: int) -> bool:
    return str(headers.get("Content-Range", "")).startswith(f"bytes {offset}-")


def _sha256_in(etag: str | None) -> str | None:
    digest = (etag or "").strip('"').lower()
    return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None


def _check_room(part: Path, size: int | None, offset: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if size is not None and size - offset > free:
        needed = f"{(size - offset) / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free"
        raise OSError(errno.ENOSPC, needed)


def _give_up_on_the_disk(error: Exception, target: Path) -> None:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise OutputError(
            f"no room for {target.name} in {target.parent} ({error.strerror}). Free some space, or choose another "
            "cache folder with --cache-dir or LPNSR_CACHE; the download then goes on where it stopped"
        ) from None
    if isinstance(error, PermissionError | IsADirectoryError | NotADirectoryError | FileNotFoundError):
        raise OutputError(f"{target} cannot be written: {error}") from None


def _is_unreachable(error: Exception) -> bool:
    """No such host, nobody listens, or not the host it claims to be: waiting a few seconds changes nothing."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(cause, socket.gaierror | ConnectionRefusedError | ssl.SSLCertVerificationError)


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(cause) or type(cause).__name__


def _silent(name: str, done: int, total: int | None) -> None:
    pass
