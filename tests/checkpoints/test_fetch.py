"""One file, from the Hub or over plain HTTP: resumed, checked, put in place by a rename."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lpnsr.checkpoints import fetch as fetching
from lpnsr.checkpoints.fetch import fetch
from lpnsr.errors import DownloadError, OutputError
from support.http_server import Behaviour, as_hub, serving
from support.small_disk import SmallDisk, resize_disk

BODY = os.urandom(300_000)
HASH = hashlib.sha256(BODY).hexdigest()
OTHER = os.urandom(300_000)
NAME = "file.pth"
KINDS = pytest.mark.parametrize("kind", ["url", "hub"])


@contextmanager
def mirror(kind: str, monkeypatch: pytest.MonkeyPatch, **how: object) -> Iterator[tuple[str, Behaviour]]:
    """Give a mirror of BODY of either kind, and its server."""
    with serving({NAME: BODY}, **how) as (url, server):
        as_hub(monkeypatch, url)
        yield ("owner/name" if kind == "hub" else f"{url}/deep"), server


def complete(folder: Path, body: bytes = BODY) -> bool:
    """Whether the file is there, whole, and no part of it is left."""
    return (folder / NAME).read_bytes() == body and not [*folder.rglob("*.part"), *folder.rglob("*.incomplete")]


@KINDS
@pytest.mark.parametrize("how", [{}, {"redirect": True}, {"etag": "sha256"}, {"drop_after": [100_000]}])
def test_a_file_arrives_whole(
    kind: str, tmp_path: Path, how: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror(kind, monkeypatch, **how) as (place, _):
        assert fetch(place, NAME, tmp_path) == HASH
    assert complete(tmp_path)


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_a_server_that_names_no_version_is_enough(tmp_path: Path, etag: str | None) -> None:
    with serving({NAME: BODY}, etag=etag, drop_after=[100_000]) as (url, server):
        fetch(url, NAME, tmp_path)
    assert complete(tmp_path)
    assert len(server.fetched) == 2


def test_a_dropped_connection_is_resumed_where_it_broke(tmp_path: Path) -> None:
    with serving({NAME: BODY}, drop_after=[100_000, 50_000]) as (url, server):
        fetch(url, NAME, tmp_path)
    assert complete(tmp_path)
    assert server.asked_ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert server.requests[-1][3] == f'"{hashlib.md5(BODY).hexdigest()}"'  # the rest of this file, or all of another


def test_a_killed_download_goes_on_in_the_next_run(tmp_path: Path) -> None:
    code = "import sys, pathlib; from lpnsr.checkpoints.fetch import fetch; fetch(*sys.argv[1:3], pathlib.Path())"
    body, stall = BODY * 10, threading.Event()
    with serving({NAME: body}, drop_after=[2_500_000], stall=stall) as (url, server):
        command = [sys.executable, "-c", code, url, NAME]
        process = subprocess.Popen(command, cwd=tmp_path, env={"PYTHONPATH": ":".join(sys.path)})
        deadline = time.monotonic() + 60
        while not any(part.stat().st_size for part in tmp_path.rglob("*.part")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
        process.wait()
        stall.set()
        assert not (tmp_path / NAME).exists()
        fetch(url, NAME, tmp_path)
    assert complete(tmp_path, body)
    first, then = server.asked_ranges
    assert first is None
    assert then in ("bytes=1048576-", "bytes=2097152-")


DATES = ["Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"]


@pytest.mark.parametrize("body", [OTHER, OTHER + b"longer"])
@pytest.mark.parametrize("etag", ["md5", None, 'W/"weak"'])
def test_a_file_that_changed_meanwhile_is_not_mixed(tmp_path: Path, etag: str | None, body: bytes) -> None:
    """It is told apart by its ETag, else by its date."""
    dates = (None, None) if etag else DATES
    with serving({NAME: BODY}, drop_after=[100_000, 0], etag=etag, last_modified=dates[0]) as (url, server):
        with pytest.raises(DownloadError, match=r"closed after \d+ of 300000 bytes"):
            fetch(url, NAME, tmp_path)
        server.files[NAME], server.last_modified = body, dates[1]
        fetch(url, NAME, tmp_path)
    assert (tmp_path / NAME).read_bytes() == body


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(tmp_path: Path) -> None:
    with (
        serving({NAME: BODY}, drop_after=[100_000] * 50, ranges=False) as (url, server),
        pytest.raises(DownloadError, match="closed"),
    ):
        fetch(url, NAME, tmp_path)
    assert len(server.fetched) == 2


@KINDS
@pytest.mark.parametrize("status", [401, 404, 503])
def test_a_refusal_is_told(kind: str, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        mirror(kind, monkeypatch, statuses=[status]) as (place, server),
        pytest.raises(DownloadError, match=rf"{NAME} cannot be fetched: .*{status}"),
    ):
        fetch(place, NAME, tmp_path)
    assert server.fetched == []


@KINDS
def test_an_offline_machine_is_told_at_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mirror(kind, monkeypatch) as (place, _):
        pass  # nobody listens there any more
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=rf"127\.0\.0\.1:\d+/.*{NAME} cannot be fetched: .*refused"):
        fetch(place, NAME, tmp_path)
    assert time.monotonic() - begun < 5


def test_a_silent_server_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.05)
    stall = threading.Event()
    with serving({NAME: BODY}, drop_after=[0, 0], stall=stall) as (url, _):
        with pytest.raises(DownloadError, match="0 of 300000 bytes"):
            fetch(url, NAME, tmp_path)
        stall.set()


@KINDS
@pytest.mark.parametrize("stated", [False, True])
def test_a_file_of_another_hash_is_refused_and_deleted(
    kind: str, stated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = hashlib.sha256(b"something else").hexdigest()
    with mirror(kind, monkeypatch, etag=f'"{wrong}"' if stated else "md5") as (place, _):
        with pytest.raises(DownloadError, match=f"SHA-256 {HASH} instead of {wrong}"):
            fetch(place, NAME, tmp_path, None if stated else wrong)
        assert not (tmp_path / NAME).exists()
        assert fetch(place, NAME, tmp_path, HASH) == HASH


@pytest.mark.parametrize(("how", "words"), [({"content_type": "text/html"}, "web page"), ({"length": False}, "size")])
def test_what_cannot_be_a_checkpoint_is_not_fetched(tmp_path: Path, how: dict[str, object], words: str) -> None:
    with serving({NAME: BODY}, **how) as (url, server), pytest.raises(DownloadError, match=words):
        fetch(url, NAME, tmp_path)
    assert server.fetched == []


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits of file sizes")
@KINDS
def test_a_disk_that_fills_up_is_told(kind: str, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = small_disk(100)
    with mirror(kind, monkeypatch) as (place, _):
        with pytest.raises(OutputError, match=rf"{NAME}: the disk is full; .*LPNSR_CACHE"):
            fetch(place, NAME, disk)
        assert not (disk / NAME).exists()
        resize_disk(disk, size="4m")
        fetch(place, NAME, disk)
    assert complete(disk)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with serving({NAME: BODY}) as (url, _), pytest.raises(OutputError, match="not a folder"):
        fetch(url, NAME, tmp_path / "file")
