"""The official model: fetched, checked, remembered, converted."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from lpnsr.checkpoints import convert, download, fetch, load_folder, resolve
from lpnsr.checkpoints.download import download_official, read_lock
from lpnsr.checkpoints.locate import official_folder
from lpnsr.checkpoints.registry import OFFICIAL, official_files
from lpnsr.checkpoints.verify import verify_downloads
from lpnsr.errors import CheckpointError, ConfigError, DownloadError, LicenceError, MissingExtraError, OutputError
from lpnsr.system.hashes import file_sha256
from support.http_server import Behaviour, serving
from support.released import NAMES, write_released

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")  # spandrel's
get = partial(download_official, accept_licence=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in write_released(tmp_path_factory.mktemp("released")).values()}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "fetch", partial(fetch.fetch, retries=1, backoff=0.001))
    monkeypatch.delenv("LPNSR_MIRROR", raising=False)


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Conversion is replaced by a note of where to: what is tested is the download."""
    done: list[Path] = []

    def note(parts: object, target: Path, **how: object) -> None:
        target.mkdir(parents=True)
        (target / "model.json").write_text("{}")
        done.append(target)

    monkeypatch.setattr(convert, "convert_released", note)
    return done


SMALL = {file.name: file.name.encode() * 50 for file in OFFICIAL}


def test_the_official_model_is_downloaded_and_converted(files: dict[str, bytes], tmp_path: Path) -> None:
    with serving(files, drop_after=[1000, 1000]) as (url, server):
        folder = get(cache_dir=tmp_path, mirror=url)
        asked = len(server.requests)
        assert get(cache_dir=tmp_path, mirror=url) == folder
        assert len(server.requests) == asked  # what is here is not asked for again
    assert resolve("official", cache_dir=tmp_path) == folder
    assert set(load_folder(folder).parts) == set(NAMES)
    assert all(check.ok for check in verify_downloads("official", tmp_path))
    assert {name: record.sha256 for name, record in read_lock(tmp_path / "downloads").items()} == {
        name: file_sha256(tmp_path / "downloads" / name) for name in files
    }


def test_the_licence_has_to_be_accepted_before_anything_is_fetched(tmp_path: Path) -> None:
    with serving(SMALL) as (url, server), pytest.raises(LicenceError) as caught:
        download_official(cache_dir=tmp_path, mirror=url)
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []
    for text in ("S-Lab", "non-commercial", "ResShift", "--accept-licence"):
        assert text in str(caught.value)


def test_what_cannot_be_converted_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with serving(SMALL) as (url, server), pytest.raises(MissingExtraError, match=r"lpnsr\[upsamplers\]"):
        get(cache_dir=tmp_path, mirror=url)
    assert server.requests == []


def test_the_second_predictor_shares_the_other_files(tmp_path: Path, conversions: list[Path]) -> None:
    with serving(SMALL) as (url, server):
        get(cache_dir=tmp_path, mirror=url)
        before = len(server.requests)
        get("v2", tmp_path, mirror=url)
        assert [path for path, _ in server.requests[before:]] == ["/noise_predictor_v2.pth"]
    assert [path.name for path in conversions] == ["official", "official-v2"]


def test_the_mirror_of_the_environment_is_used(
    tmp_path: Path, conversions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(SMALL) as (url, server):
        monkeypatch.setenv("LPNSR_MIRROR", url + "/deep/")
        get(cache_dir=tmp_path)
    assert server.requests[0][0].startswith("/deep/")
    with pytest.raises(ConfigError, match="http"):
        get("v2", cache_dir=tmp_path, mirror="file:///etc")


def test_without_a_network_it_says_what_to_fetch_by_hand(tmp_path: Path, conversions: list[Path]) -> None:
    (tmp_path / "downloads").mkdir()
    here, *absent = official_files()
    (tmp_path / "downloads" / here.name).write_bytes(b"fetched by hand")
    with pytest.raises(DownloadError) as caught:
        get(cache_dir=tmp_path, mirror="http://127.0.0.1:9")
    assert str(tmp_path / "downloads") in str(caught.value)
    assert here.urls[0] not in str(caught.value)
    for file in absent:
        assert file.urls[0] in str(caught.value)
        (tmp_path / "downloads" / file.name).write_bytes(b"fetched by hand")
    told: list[str] = []
    get(cache_dir=tmp_path, mirror="http://127.0.0.1:9", say=told.append)
    assert len(conversions) == 1
    assert sum("by hand" in text for text in told) == 3
    assert set(read_lock(tmp_path / "downloads")) == {file.name for file in official_files()}


def test_the_next_address_is_tried_when_one_fails(
    tmp_path: Path, conversions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def fake(url: str, target: Path, **how: object) -> fetch.Fetched:
        tried.append(url)
        if "github.com" in url:
            raise DownloadError("404")
        target.write_bytes(b"x")
        return fetch.Fetched(target, url, 1, "0" * 64)

    monkeypatch.setattr(download, "fetch", fake)
    get(cache_dir=tmp_path)
    assert len(conversions) == 1
    assert tried[:2] == list(official_files()[0].urls)


def test_a_full_disk_is_no_reason_to_try_the_next_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def full(url: str, target: Path, **how: object) -> fetch.Fetched:
        tried.append(url)
        raise OutputError("no room")

    monkeypatch.setattr(download, "fetch", full)
    with pytest.raises(OutputError, match="no room"):
        get(cache_dir=tmp_path)
    assert len(tried) == 1


def fetched(tmp_path: Path, server: Behaviour, url: str) -> Path:
    get(cache_dir=tmp_path, mirror=url)
    server.requests.clear()
    folder = official_folder("official", tmp_path)
    (folder / "model.json").unlink()
    folder.rmdir()
    return tmp_path / "downloads" / "noise_predictor.pth"


def test_a_hash_is_remembered_from_the_first_copy_on(tmp_path: Path, conversions: list[Path]) -> None:
    with serving(dict(SMALL)) as (url, server):
        path = fetched(tmp_path, server, url)
        path.unlink()
        server.files[path.name] = b"another file"
        with pytest.raises(DownloadError, match=r"SHA-256 .* instead of"):
            get(cache_dir=tmp_path, mirror=url)
        assert not path.exists()
        server.files[path.name] = SMALL[path.name]
        get(cache_dir=tmp_path, mirror=url)
    assert len(conversions) == 2


def test_a_file_that_changed_on_the_disk_is_not_used(tmp_path: Path, conversions: list[Path]) -> None:
    with serving(dict(SMALL)) as (url, server):
        path = fetched(tmp_path, server, url)
        path.write_bytes(b"changed")
        with pytest.raises(CheckpointError, match=r"noise_predictor\.pth has SHA-256 .* remembered .* Delete the file"):
            get(cache_dir=tmp_path, mirror=url)
        assert server.requests == []
    assert [c.what for c in verify_downloads("official", tmp_path) if not c.ok] == ["downloads/noise_predictor.pth"]


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"a": {"sha256": "x"}}'])
def test_a_damaged_memory_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "lock.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"lock\.json is damaged"):
        get(cache_dir=tmp_path, mirror="http://127.0.0.1:9")


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    with pytest.raises(OutputError, match="cache folder"):
        get(cache_dir=tmp_path / "cache", mirror="http://127.0.0.1:9")


CODE = """
import sys
from pathlib import Path
from lpnsr.checkpoints import convert
def note(parts, target, **how):
    target.mkdir(parents=True)
    (target / "model.json").write_text("{}")
convert.convert_released = note
from lpnsr.checkpoints.download import download_official
download_official(cache_dir=sys.argv[1], mirror=sys.argv[2], accept_licence=True)
"""


def test_two_processes_at_once_fetch_each_file_once(tmp_path: Path) -> None:
    """The second waits for the first, and then finds everything there."""
    body = {name: content * 2000 for name, content in SMALL.items()}
    with serving(body) as (url, server):
        command = [sys.executable, "-c", CODE, str(tmp_path), url]
        both = [subprocess.Popen(command, env={"PYTHONPATH": ":".join(sys.path)}) for _ in range(2)]
        assert [process.wait(60) for process in both] == [0, 0]
    assert sorted(path for path, _ in server.requests) == sorted(f"/{file.name}" for file in official_files())
    for file in official_files():
        assert (tmp_path / "downloads" / file.name).read_bytes() == body[file.name]
    assert not list((tmp_path / "downloads").glob("*.part*"))


def test_the_registry_invents_nothing() -> None:
    assert [file.part for file in official_files("paper")] == [file.part for file in official_files("v2")]
    for file in OFFICIAL:
        assert file.sha256 is None or len(file.sha256) == 64
        assert all(url.startswith("https://") and url.endswith("/" + file.name) for url in file.urls)
        assert file.non_commercial == (file.part != "upsampler")
    json.dumps([file.name for file in OFFICIAL])
