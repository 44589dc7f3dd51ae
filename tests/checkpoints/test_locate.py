"""From the name of a model to its folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lpnsr.checkpoints import locate, resolve
from lpnsr.checkpoints.locate import cache_folder, hub_folder, known_models, official_folder, resolve_file
from lpnsr.errors import CheckpointError, ConfigError
from support.http_server import Behaviour, as_hub, serving


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    for name in ("LPNSR_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG rules are Linux's")
def test_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "home" / ".cache" / "lpnsr"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / "home" / ".cache" / "lpnsr"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "lpnsr"
    monkeypatch.setenv("LPNSR_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "home" / "mine"
    assert cache_folder("chosen") == tmp_path / "work" / "chosen"
    assert cache_folder(tmp_path / "chosen") == tmp_path / "chosen"


def test_lite_is_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "bundled_folder", lambda name: tmp_path / "package" / name)
    with pytest.raises(CheckpointError, match="install lpnsr again"):
        resolve("lite")
    make(tmp_path / "package" / "lite")
    assert resolve("lite") == tmp_path / "package" / "lite"


@pytest.mark.parametrize(("name", "predictor"), [("official", "paper"), ("official-v2", "v2")])
def test_official_says_how_to_get_it(tmp_path: Path, name: str, predictor: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        resolve(name, cache_dir=tmp_path / "cache")
    assert f"lpnsr models download official --predictor {predictor} --accept-licence" in str(caught.value)
    assert f"lpnsr models convert FOLDER_WITH_THE_FILES --predictor {predictor} -o " in str(caught.value)
    folder = make(official_folder(name, tmp_path / "cache"))
    assert str(folder) in str(caught.value)
    assert resolve(name, cache_dir=tmp_path / "cache") == folder


@pytest.mark.parametrize("place", ["mine", "deep/mine", "über allem/mein Modell"])
def test_a_folder(tmp_path: Path, place: str) -> None:
    make(tmp_path / "work" / place)
    assert resolve(place) == Path(place)
    assert resolve(Path(place)) == Path(place)
    assert resolve(tmp_path / "work" / place) == tmp_path / "work" / place


def test_folders_and_files_in_the_cache_have_names(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = make(locate.models_folder(cache) / "mine")
    for name in ("x2.pth", "x4.safetensors", "notes.txt"):
        (folder.parent / name).touch()
    assert resolve("mine", cache_dir=cache) == folder
    for name, file in (("x2.pth", "x2.pth"), ("x2", "x2.pth"), ("x4", "x4.safetensors")):
        assert resolve(name, cache_dir=cache) == resolve_file(name, cache) == folder.parent / file
    assert [model.name for model in known_models(cache)][-3:] == ["mine", "x2.pth", "x4.safetensors"]
    Path("x2.pth").touch()
    assert resolve("x2.pth", cache_dir=cache) == resolve_file("x2.pth", cache) == Path("x2.pth")
    for name in ("../models/x4", "mine/model", "x3"):
        with pytest.raises(CheckpointError, match="no "):
            resolve(name, cache_dir=cache)
    with pytest.raises(CheckpointError, match=r"did you mean 'x4\.safetensors'\?"):
        resolve("x4.safetensor", cache_dir=cache)
    with pytest.raises(CheckpointError, match="no file mine"):
        resolve_file("mine", cache)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "work" / "a" / "b").mkdir(parents=True)
    for name in ("a", "a/b", "."):
        with pytest.raises(CheckpointError, match=r"no model\.json"):
            resolve(name)


@pytest.mark.parametrize(("name", "hint"), [("lit", "'lite'"), ("offical", "'official'"), ("xyz", "owner/name")])
def test_an_unknown_name(name: str, hint: str) -> None:
    with pytest.raises(CheckpointError, match=hint):
        resolve(name)


def test_a_path_object_is_never_a_name() -> None:
    with pytest.raises(CheckpointError, match="no model 'lite'"):
        resolve(Path("lite"))
    with pytest.raises(CheckpointError, match="no model 'owner/name'"):
        resolve(Path("owner/name"))


@pytest.mark.parametrize("name", ["lite", "official", "mine"])
def test_a_revision_is_for_repositories_alone(tmp_path: Path, name: str) -> None:
    make(tmp_path / "work" / "mine")
    with pytest.raises(ConfigError, match="revision"):
        resolve(name, revision="v1")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Behaviour]:
    """A Hugging Face Hub whose repositories have a model, and other files."""
    with serving({"model.json": b"{}", "README.md": b"#", "other.bin": b"x"}) as (url, server):
        as_hub(monkeypatch, url)
        yield server


def test_a_hub_repository(tmp_path: Path, hub: Behaviour) -> None:
    folder = resolve("owner/na-me.x", "v1.0", tmp_path / "cache")
    assert folder.is_relative_to(hub_folder(tmp_path / "cache"))
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "model.json"]
    assert any(path.startswith("/api/models/owner/na-me.x/revision/v1.0") for path in hub.fetched)
    hub.statuses = [500] * 50
    assert resolve("owner/na-me.x", "v1.0", tmp_path / "cache") == folder  # what is here is used without the Hub


def test_a_local_folder_goes_before_a_hub_repository(tmp_path: Path, hub: Behaviour) -> None:
    make(tmp_path / "work" / "owner" / "name")
    assert resolve("owner/name") == Path("owner/name")
    assert hub.requests == []


@pytest.mark.parametrize("status", [401, 404])
def test_a_hub_that_fails_is_explained(hub: Behaviour, status: int) -> None:
    hub.statuses = [status]
    with pytest.raises(CheckpointError, match=f"no folder 'owner/name' here.*'v9' cannot be fetched: .*{status}"):
        resolve("owner/name", revision="v9")


def test_a_hub_repository_that_is_no_model(hub: Behaviour) -> None:
    del hub.files["model.json"]
    with pytest.raises(CheckpointError, match="no lpnsr model"):
        resolve("owner/name")


def cached_snapshot(cache: Path) -> Path:
    """What the client leaves on disk for owner/name at the branch main."""
    repository = hub_folder(cache) / "models--owner--name"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    return make(repository / "snapshots" / commit)


def test_a_cached_repository_works_offline(tmp_path: Path) -> None:
    """In a process of its own: the client reads its switches when it is imported."""
    snapshot = cached_snapshot(tmp_path / "cache")
    code = f"from lpnsr.checkpoints import resolve; print(resolve('owner/name', cache_dir={str(tmp_path / 'cache')!r}))"
    offline = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=offline, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(snapshot)


def test_the_list_of_known_models(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    make(official_folder("official-v2", cache))
    (cache / "downloads").mkdir()
    (cache / "downloads" / "noise_predictor.pth").touch()
    cached_snapshot(cache)
    found = {model.name: model for model in known_models(cache)}
    assert list(found) == ["base", "lite", "official", "official-v2", "owner/name @ 0123456789ab"]
    assert not found["official"].available
    assert "1 of 4 files downloaded" in found["official"].where
    assert found["official-v2"].available
    assert found["owner/name @ 0123456789ab"].available


def test_finding_a_model_does_not_import_torch() -> None:
    code = "import sys, lpnsr.checkpoints.locate as l; l.known_models('/nowhere'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=True)
