"""One file over HTTP: resumed, retried, checked, put in place by a rename."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
from functools import partial
from pathlib import Path

import pytest

from lpnsr.checkpoints import fetch as fetching
from lpnsr.errors import DownloadError, OutputError
from support.http_server import serving

BODY = os.urandom(300_000)
HASH = hashlib.sha256(BODY).hexdigest()
OTHER = os.urandom(300_000)

fetch = partial(fetching.fetch, backoff=0.001, timeout=5.0)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.pth"


def complete(target: Path, body: bytes = BODY) -> bool:
    """The file is there, whole, and nothing else is left beside it."""
    return target.read_bytes() == body and [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("how", [{}, {"chunked": True}, {"etag": None}, {"etag": 'W/"weak"'}, {"ranges": False}])
def test_a_file_arrives_whole(target: Path, how: dict[str, object]) -> None:
    seen: list[tuple[str, int, int | None]] = []
    with serving({"file.pth": BODY}, **how) as (url, _):
        fetched = fetch(f"{url}/file.pth", target, progress=lambda *args: seen.append(args))
    assert complete(target)
    assert (fetched.size, fetched.sha256) == (len(BODY), HASH)
    assert seen[0][:2] == ("file.pth", 0)
    assert seen[-1] == ("file.pth", len(BODY), None if how.get("chunked") else len(BODY))


def test_a_dropped_connection_is_resumed_where_it_broke(target: Path) -> None:
    with serving({"file.pth": BODY}, drop_after=[100_000, 50_000]) as (url, server):
        fetch(f"{url}/file.pth", target)
    assert complete(target)
    assert [wanted for _, wanted in server.requests] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_killed_download_goes_on_in_the_next_run(target: Path) -> None:
    with serving({"file.pth": BODY}, drop_after=[100_000, 0]) as (url, server):
        with pytest.raises(DownloadError, match="100000 of 300000 bytes"):
            fetch(f"{url}/file.pth", target, retries=0)
        assert not target.exists()
        fetch(f"{url}/file.pth", target)
    assert complete(target)
    assert server.requests[-1][1] == "bytes=100000-"


@pytest.mark.parametrize("etag", ["strong", None, 'W/"weak"'])
def test_a_file_that_changed_meanwhile_is_not_mixed(target: Path, etag: str | None) -> None:
    with serving({"file.pth": BODY}, drop_after=[100_000, 0], etag=etag) as (url, server):
        with pytest.raises(DownloadError):
            fetch(f"{url}/file.pth", target, retries=0)
        server.files["file.pth"] = OTHER + b"longer"
        fetch(f"{url}/file.pth", target)
    assert complete(target, OTHER + b"longer")


DATES = ["Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"]


@pytest.mark.parametrize("etag", ["strong", None, 'W/"weak"'])
def test_a_file_of_the_same_size_is_told_apart(target: Path, etag: str | None) -> None:
    """By a strong ETag, else by the date; a weak ETag promises nothing and is not sent."""
    dates = (None, None) if etag == "strong" else DATES
    with serving({"file.pth": BODY}, drop_after=[100_000, 0], etag=etag, last_modified=dates[0]) as (url, server):
        with pytest.raises(DownloadError):
            fetch(f"{url}/file.pth", target, retries=0)
        server.files["file.pth"], server.last_modified = OTHER, dates[1]
        fetch(f"{url}/file.pth", target)
    assert complete(target, OTHER)
    assert server.guards[-1] == (DATES[0] if etag != "strong" else server.guards[1])
    assert server.guards[-1] is not None


def test_a_server_without_ranges_starts_again(target: Path) -> None:
    with serving({"file.pth": BODY}, drop_after=[100_000], ranges=False) as (url, server):
        fetch(f"{url}/file.pth", target)
    assert complete(target)
    assert len(server.requests) == 2


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(target: Path) -> None:
    many = [100_000] * 50
    with (
        serving({"file.pth": BODY}, drop_after=many, ranges=False) as (url, server),
        pytest.raises(DownloadError, match="closed"),
    ):
        fetch(f"{url}/file.pth", target, retries=3)
    assert len(server.requests) == 5  # one that brought something new, then four that did not


def test_416_for_a_complete_part_finishes_it(target: Path) -> None:
    with serving({"file.pth": BODY}, drop_after=[100_000, 0]) as (url, server):
        with pytest.raises(DownloadError):
            fetch(f"{url}/file.pth", target, retries=0)
        target.with_name("file.pth.part").write_bytes(BODY)  # killed between the last byte and the rename
        fetch(f"{url}/file.pth", target)
    assert complete(target)
    assert server.requests[-1][1] == "bytes=300000-"


def test_416_for_a_part_that_is_too_long_starts_again(target: Path) -> None:
    with serving({"file.pth": BODY}, drop_after=[100_000, 0]) as (url, _):
        with pytest.raises(DownloadError):
            fetch(f"{url}/file.pth", target, retries=0)
        target.with_name("file.pth.part").write_bytes(BODY + b"more")
        fetch(f"{url}/file.pth", target)
    assert complete(target)


def test_a_part_of_another_address_is_not_resumed(target: Path) -> None:
    with serving({"file.pth": BODY, "other.pth": OTHER}, drop_after=[100_000, 0]) as (url, server):
        with pytest.raises(DownloadError):
            fetch(f"{url}/other.pth", target, retries=0)
        fetch(f"{url}/file.pth", target)
    assert complete(target)
    assert server.requests[-1][1] is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(target: Path, status: int) -> None:
    with serving({"file.pth": BODY}, statuses=[status, status]) as (url, _):
        fetch(f"{url}/file.pth", target)
    assert complete(target)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(target: Path, status: int) -> None:
    with (
        serving({"file.pth": BODY}, statuses=[status]) as (url, server),
        pytest.raises(DownloadError, match=str(status)),
    ):
        fetch(f"{url}/file.pth", target)
    assert len(server.requests) == 1


def test_an_unreachable_server_is_not_waited_for(target: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(DownloadError, match=rf"127\.0\.0\.1:{port}.*refused"):
        fetch(f"http://127.0.0.1:{port}/file.pth", target, backoff=100.0)


def test_a_silent_server_times_out(target: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/file.pth"
        with pytest.raises(DownloadError, match="timed out"):
            fetch(url, target, timeout=0.05, retries=1)


@pytest.mark.parametrize("wrong", [{"size": 299_999}, {"sha256": "0" * 64}])
def test_a_file_of_wrong_size_or_hash_is_refused_and_deleted(target: Path, wrong: dict[str, object]) -> None:
    with serving({"file.pth": BODY}) as (url, _), pytest.raises(DownloadError, match="instead of"):
        fetch(f"{url}/file.pth", target, **wrong)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("stated", [HASH, hashlib.sha256(b"something else").hexdigest()])
@pytest.mark.parametrize("how", ["redirect", "etag"])
def test_a_hash_that_the_server_states_is_checked(target: Path, stated: str, how: str) -> None:
    served = {"linked_sha256": {"file.pth": stated}} if how == "redirect" else {"etag": f'"{stated}"'}
    with serving({"file.pth": BODY}, **served) as (url, _):
        if stated == HASH:
            fetch(f"{url}/file.pth", target)
            assert complete(target)
        else:
            with pytest.raises(DownloadError, match=stated):
                fetch(f"{url}/file.pth", target)
            assert not target.exists()


def test_a_web_page_is_not_a_checkpoint(target: Path) -> None:
    with (
        serving({"file.pth": b"<html>log in"}, content_type="text/html") as (url, _),
        pytest.raises(DownloadError, match="web page"),
    ):
        fetch(f"{url}/file.pth", target)
    assert list(target.parent.iterdir()) == []


def test_a_file_of_unknown_length_is_refused(target: Path) -> None:
    with serving({"file.pth": BODY}, length=False) as (url, _), pytest.raises(DownloadError, match="how long"):
        fetch(f"{url}/file.pth", target)


def test_a_disk_too_small_is_seen_before_it_is_full(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))  # type: ignore[attr-defined]
    with serving({"file.pth": BODY}) as (url, _), pytest.raises(OutputError, match="LPNSR_CACHE"):
        fetch(f"{url}/file.pth", target)
    assert list(target.parent.iterdir()) == []


def test_a_disk_that_fills_up_is_no_reason_to_retry(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching, "_copy", full)
    with serving({"file.pth": BODY}) as (url, server), pytest.raises(OutputError, match="no room"):
        fetch(f"{url}/file.pth", target)
    assert len(server.requests) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with serving({"file.pth": BODY}) as (url, _), pytest.raises(OutputError, match="absent"):
        fetch(f"{url}/file.pth", tmp_path / "absent" / "file.pth")
