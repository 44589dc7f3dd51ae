"""The official model: fetched, checked, remembered, converted."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from lpnsr.checkpoints import convert, load_folder, registry, resolve, verify
from lpnsr.checkpoints.download import LockEntry, download_official, read_lock
from lpnsr.checkpoints.fetch import address
from lpnsr.checkpoints.locate import official_folder
from lpnsr.checkpoints.registry import OFFICIAL, official_files, shapes_hash
from lpnsr.checkpoints.verify import Check, verify_downloads, verify_folder
from lpnsr.errors import CheckpointError, DownloadError, LicenceError, MissingExtraError, OutputError
from lpnsr.networks.tensors import is_derived
from lpnsr.system.hashes import file_sha256
from support.http_server import Behaviour, as_hub, serving
from support.released import COMPONENTS, NAMES, shapes, write_released

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")  # spandrel's
get = partial(download_official, accept_licence=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in write_released(tmp_path_factory.mktemp("released")).values()}


@pytest.fixture(autouse=True)
def _no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
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


def origins(checks: Iterable[Check]) -> list[str]:
    """List the sentences in which the checks say of which published files the parts are."""
    made = list(checks)
    assert all(check.ok for check in made)
    return [check.detail.split("; ")[1] for check in made if "; " in check.detail]


def learnt_shapes(shapes: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    return {name: shape for name, shape in shapes.items() if not is_derived(name)}


def test_the_official_model_is_downloaded_and_converted(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert set(origins(verify_folder(folder, tmp_path))) == {
        f"made of {name}, by its SHA-256" for name in NAMES.values()
    }
    # Another cache knows no hashes, which leaves the shapes; here they are not those of the published size.
    assert origins(verify_folder(folder, tmp_path / "other")) == []
    tiny = tuple(replace(file, shapes=shapes_hash(learnt_shapes(shapes(file.part)))) for file in OFFICIAL)
    monkeypatch.setattr(verify, "OFFICIAL", tiny)
    names = {**NAMES, "noise_predictor": "noise_predictor.pth or noise_predictor_v2.pth"}
    assert set(origins(verify_folder(folder, tmp_path / "other"))) == {f"of the shapes of {n}" for n in names.values()}


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
        before = len(server.fetched)
        get("v2", tmp_path, mirror=url)
        assert server.fetched[before:] == ["/noise_predictor_v2.pth"]
    assert [path.name for path in conversions] == ["official", "official-v2"]


def test_the_mirror_of_the_environment_is_used(
    tmp_path: Path, conversions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(SMALL) as (url, server):
        monkeypatch.setenv("LPNSR_MIRROR", url + "/deep/")
        get(cache_dir=tmp_path)
    assert all(path.startswith("/deep/") for path in server.fetched)


def test_without_a_network_it_says_what_to_fetch_by_hand(tmp_path: Path, conversions: list[Path]) -> None:
    (tmp_path / "downloads").mkdir()
    here, *absent = official_files()
    (tmp_path / "downloads" / here.name).write_bytes(b"fetched by hand")
    with pytest.raises(DownloadError) as caught:
        get(cache_dir=tmp_path, mirror="http://127.0.0.1:9")
    assert str(tmp_path / "downloads") in str(caught.value)
    assert here.name not in str(caught.value).split("fetch by hand")[1]
    for file in absent:
        assert address(file.mirrors[0], file.name) in str(caught.value)
        (tmp_path / "downloads" / file.name).write_bytes(b"fetched by hand")
    told: list[str] = []
    get(cache_dir=tmp_path, mirror="http://127.0.0.1:9", say=told.append)
    assert len(conversions) == 1
    assert sum("by hand" in text for text in told) == 3
    assert set(read_lock(tmp_path / "downloads")) == {file.name for file in official_files()}


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_the_next_mirror_is_tried_when_one_fails_and_the_one_that_served_is_told(
    tmp_path: Path, conversions: list[Path], monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    with serving({}) as (absent, _), serving(SMALL) as (url, server):
        as_hub(monkeypatch, url)
        mirrors = (absent, "http://127.0.0.1:9", "owner/name", url)[2 - failing :]
        files = tuple(replace(file, mirrors=mirrors) for file in OFFICIAL)
        monkeypatch.setattr(registry, "OFFICIAL", files)
        told: list[str] = []
        get(cache_dir=tmp_path, say=told.append)
    assert len(conversions) == 1
    assert len(server.fetched) == 4
    records = read_lock(tmp_path / "downloads")
    for file in official_files():
        digest = hashlib.sha256(SMALL[file.name]).hexdigest()
        assert f"{file.name}: served by owner/name; its SHA-256 is remembered: {digest}" in told
        assert records[file.name] == LockEntry(digest, "owner/name")


def test_a_failure_of_all_mirrors_names_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({}) as (url, _):
        as_hub(monkeypatch, url)
        files = tuple(replace(file, mirrors=(url, "owner/name", "http://127.0.0.1:9")) for file in OFFICIAL)
        monkeypatch.setattr(registry, "OFFICIAL", files)
        with pytest.raises(DownloadError) as caught:
            get(cache_dir=tmp_path)
    first, second, third, *_ = str(caught.value).splitlines()
    assert f"{url}/{OFFICIAL[0].name} cannot be fetched: HTTPError: HTTP Error 404" in first
    assert f"{url}/owner/name/resolve/main/{OFFICIAL[0].name} cannot be fetched: " in second
    assert "refused" in third


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
    assert sorted(server.fetched) == sorted(f"/{file.name}" for file in official_files())
    for file in official_files():
        assert (tmp_path / "downloads" / file.name).read_bytes() == body[file.name]
    assert not list((tmp_path / "downloads").rglob("*.part"))


def test_the_registry_invents_nothing(data: Path) -> None:
    assert [file.part for file in official_files("paper")] == [file.part for file in official_files("v2")]
    tensors = json.loads((data / "manifest_full.json").read_text())["tensors"]
    for file in OFFICIAL:
        assert file.sha256 is None or len(file.sha256) == 64
        assert all(address(place, file.name).endswith("/" + file.name) for place in file.mirrors)
        assert "mirpri/LPNSR" in file.mirrors
        assert file.shapes == shapes_hash(learnt_shapes(tensors[COMPONENTS[file.part]]))
