"""The official model: its released files into the cache, checked and remembered, then converted there.

The files' hashes are not published, so trust is on first use: what a server states about a file is checked when it
arrives, the SHA-256 of the first copy goes into ``downloads/lock.json``, and every later look at the file, and every
later download of it, has to agree.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lpnsr.checkpoints.fetch import address, fetch
from lpnsr.checkpoints.locate import downloads_folder, official_folder
from lpnsr.checkpoints.registry import (
    LICENCE_NOTICE,
    OfficialFile,
    Predictor,
    official_files,
    official_name,
    require_spandrel,
)
from lpnsr.checkpoints.spec import PartName, Say, silent
from lpnsr.errors import CheckpointError, DownloadError, LicenceError, OutputError
from lpnsr.system.atomic import write_bytes
from lpnsr.system.hashes import file_sha256

LOCK = "lock.json"


@dataclass(frozen=True)
class LockEntry:
    """The hash of a file's first copy, and the mirror that served it; empty for a file put there by hand."""

    sha256: str
    mirror: str


def download_official(
    predictor: Predictor = "paper",
    cache_dir: Path | str | None = None,
    *,
    accept_licence: bool = False,
    mirror: str | None = None,
    say: Say = silent,
) -> Path:
    """Fetch what is missing of the four released files, convert them, and return the model folder in the cache.

    Each file's mirrors are tried in turn, and ``say`` is told which one served it. ``mirror`` (else ``$LPNSR_MIRROR``)
    takes their place: a Hugging Face repository (``owner/name``) or the URL of a folder. Two processes may do this
    at once: the second waits. Raises LicenceError unless ``accept_licence``; DownloadError that lists what to fetch by
    hand if no mirror serves a file; OutputError if the cache cannot be written; MissingExtraError without spandrel.
    """
    target = official_folder(official_name(predictor), cache_dir)
    if (target / "model.json").is_file():
        return target
    if not accept_licence:
        raise LicenceError(
            f"{LICENCE_NOTICE}\nIf you accept these terms, download with:\n"
            f"    lpnsr models download official --predictor {predictor} --accept-licence"
        )
    require_spandrel()  # before gigabytes are fetched that could not be converted
    mirror = mirror or os.environ.get("LPNSR_MIRROR")
    with _alone(downloads_folder(cache_dir), say) as downloads:
        if not (target / "model.json").is_file():
            files = _obtain_all(official_files(predictor), downloads, mirror, say)
            from lpnsr.checkpoints.convert import convert_released  # imports torch: not before it is needed

            convert_released(files, target, name=target.name, say=say)
    return target


def read_lock(downloads: Path) -> dict[str, LockEntry]:
    """Read what is remembered about the files in ``downloads``. Raises CheckpointError if it is unreadable."""
    path = downloads / LOCK
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: LockEntry(**values) for name, values in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}). Delete it to have the files' hashes remembered anew"
        ) from None


def known_sha256(file: OfficialFile, record: LockEntry | None) -> str | None:
    """Return the published hash of a file, else the remembered one, if any."""
    return file.sha256 or (record.sha256 if record else None)


def check_file(path: Path, file: OfficialFile, record: LockEntry | None) -> str:
    """Return the SHA-256 of a downloaded file that is what it should be. Raises CheckpointError if it is not."""
    digest, expected = file_sha256(path), known_sha256(file, record)
    if expected is not None and digest != expected:
        raise CheckpointError(
            f"{path} has SHA-256 {digest}, but {expected} is {'published' if file.sha256 else 'remembered'} for it. "
            "Delete the file to download it again"
        )
    return digest


@contextmanager
def _alone(downloads: Path, say: Say) -> Iterator[Path]:
    """Hold the lock of the downloads folder, which is created."""
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        lock = FileLock(downloads / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say("another lpnsr is downloading into this cache; waiting for it")
            lock.acquire()
    except OSError as error:
        raise OutputError(f"the cache folder {downloads} cannot be written: {error}. Choose another one") from None
    try:
        yield downloads
    finally:
        lock.release()


def _obtain_all(files: tuple[OfficialFile, ...], downloads: Path, mirror: str | None, say: Say) -> dict[PartName, Path]:
    for file in files:
        try:
            _obtain(file, downloads, (mirror,) if mirror else file.mirrors, say)
        except DownloadError as error:
            raise DownloadError(f"{error}\n{_by_hand(files, downloads)}") from None
    return {file.part: downloads / file.name for file in files}


def _obtain(file: OfficialFile, downloads: Path, mirrors: tuple[str, ...], say: Say) -> None:
    """Have ``file`` in ``downloads``, checked and remembered."""
    target, record = downloads / file.name, read_lock(downloads).get(file.name)
    if target.is_file():
        digest, served = check_file(target, file, record), ""
        if record is None:
            say(f"{file.name} was put here by hand; its SHA-256 is remembered: {digest}")
    else:
        digest, served = _first(file, downloads, mirrors, known_sha256(file, record), say)
    if record is None:
        records = {**read_lock(downloads), file.name: LockEntry(digest, served)}
        text = json.dumps({name: asdict(value) for name, value in records.items()}, indent=2)
        write_bytes(downloads / LOCK, (text + "\n").encode())


def _first(
    file: OfficialFile, downloads: Path, mirrors: tuple[str, ...], expected: str | None, say: Say
) -> tuple[str, str]:
    """Fetch ``file`` from the first mirror that serves it. Return its SHA-256 and the mirror."""
    problems = []
    for mirror in mirrors:
        try:
            digest = fetch(mirror, file.name, downloads, expected)
        except DownloadError as error:
            problems.append(str(error))
            continue
        say(f"{file.name}: served by {mirror}" + ("" if expected else f"; its SHA-256 is remembered: {digest}"))
        return digest, mirror
    raise DownloadError("\n".join(problems))


def _by_hand(files: tuple[OfficialFile, ...], downloads: Path) -> str:
    absent = [file for file in files if not (downloads / file.name).is_file()]
    urls = "\n".join(f"    {address(file.mirrors[0], file.name)}" for file in absent)
    return f"To go on without this connection, fetch by hand:\n{urls}\nput into {downloads}, and run this again."
