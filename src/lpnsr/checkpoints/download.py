"""The official model: its released files into the cache, checked and remembered, then converted there.

The files' sizes and hashes are not published, so trust is on first use: what a server states about a file is
checked while fetching it, the SHA-256 of the first copy goes into ``downloads/lock.json``, and every later look
at the file, and every later download of it, has to agree.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lpnsr.checkpoints.fetch import Progress, fetch
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
from lpnsr.errors import CheckpointError, ConfigError, DownloadError, LicenceError, OutputError
from lpnsr.system.hashes import file_sha256

LOCK = "lock.json"


@dataclass(frozen=True)
class Record:
    """What is remembered about a file since it was first seen."""

    sha256: str
    size: int
    url: str


def download_official(
    predictor: Predictor = "paper",
    cache_dir: Path | str | None = None,
    *,
    accept_licence: bool = False,
    mirror: str | None = None,
    progress: Progress | None = None,
    say: Say = silent,
) -> Path:
    """Fetch what is missing of the four released files, convert them, and return the model folder in the cache.

    ``mirror`` (else ``$LPNSR_MIRROR``) is a URL under which all files are looked for by name, in place of
    their publishers. Two processes may do this at once: the second waits. Raises LicenceError unless
    ``accept_licence``; DownloadError that lists what to fetch by hand if a file cannot be had; OutputError if
    the cache cannot be written; MissingExtraError without spandrel, which loads the pre-upsampler.
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
    mirror = _checked_mirror(mirror or os.environ.get("LPNSR_MIRROR"))
    with _alone(downloads_folder(cache_dir), say) as downloads:
        if not (target / "model.json").is_file():
            files = _obtain_all(official_files(predictor), downloads, mirror, progress, say)
            from lpnsr.checkpoints.convert import convert_released  # imports torch: not before it is needed

            convert_released(files, target, name=target.name, say=say)
    return target


def read_lock(downloads: Path) -> dict[str, Record]:
    """What is remembered about the files in ``downloads``. Raises CheckpointError if it is unreadable."""
    path = downloads / LOCK
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: Record(**values) for name, values in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}). Delete it to have the files' hashes remembered anew"
        ) from None


def check_file(path: Path, file: OfficialFile, record: Record | None) -> str:
    """The SHA-256 of a downloaded file that is what it should be. Raises CheckpointError if it is not."""
    digest = file_sha256(path)
    expected = file.sha256 or (record.sha256 if record else None)
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


def _obtain_all(
    files: tuple[OfficialFile, ...], downloads: Path, mirror: str | None, progress: Progress | None, say: Say
) -> dict[PartName, Path]:
    for file in files:
        try:
            _obtain(file, downloads, mirror, progress, say)
        except DownloadError as error:
            raise DownloadError(f"{error}\n{_by_hand(files, downloads)}") from None
    return {file.part: downloads / file.name for file in files}


def _obtain(file: OfficialFile, downloads: Path, mirror: str | None, progress: Progress | None, say: Say) -> None:
    """Have ``file`` in ``downloads``, checked and remembered."""
    target, records = downloads / file.name, read_lock(downloads)
    record = records.get(file.name)
    if target.is_file():
        digest = check_file(target, file, record)
        if record is None:
            say(f"{file.name} was put here by hand: its SHA-256 is remembered from now on")
            _remember(downloads, file.name, Record(digest, target.stat().st_size, ""))
        return
    problems = []
    expected = file.sha256 or (record.sha256 if record else None)
    for url in [f"{mirror}/{file.name}"] if mirror else file.urls:
        try:
            fetched = fetch(url, target, size=file.size, sha256=expected, progress=progress)
        except DownloadError as error:
            problems.append(str(error))
            continue
        if record is None:
            say(f"{file.name}: no hash of it is published; this copy's ({fetched.sha256}) is remembered")
            _remember(downloads, file.name, Record(fetched.sha256, fetched.size, url))
        return
    raise DownloadError("\n".join(problems))


def _remember(downloads: Path, name: str, record: Record) -> None:
    records: Mapping[str, Record] = {**read_lock(downloads), name: record}
    text = json.dumps({key: asdict(value) for key, value in records.items()}, indent=2)
    fresh = downloads / (LOCK + ".new")
    try:
        fresh.write_text(text + "\n", encoding="utf-8")
        fresh.replace(downloads / LOCK)
    except OSError as error:
        raise OutputError(f"{downloads / LOCK} cannot be written: {error}") from None


def _by_hand(files: tuple[OfficialFile, ...], downloads: Path) -> str:
    absent = [file for file in files if not (downloads / file.name).is_file()]
    urls = "\n".join(f"    {file.urls[0]}" for file in absent)
    return f"To go on without this connection, fetch by hand:\n{urls}\nput into {downloads}, and run this again."


def _checked_mirror(mirror: str | None) -> str | None:
    if mirror and not mirror.startswith(("http://", "https://")):
        raise ConfigError(f"the mirror {mirror!r} has to be a URL that begins with http:// or https://")
    return mirror.rstrip("/") if mirror else None
