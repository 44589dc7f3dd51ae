"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lpnsr.runtimes import loading
from lpnsr.system import devices
from lpnsr.upscaling.upscaler import Upscaler
from support.repository import REPOSITORY
from support.tiny_model import tiny_upscaler
from support.upscale_command import MODEL, Watched, make

pytest_plugins = ["support.browser", "support.cuda", "support.small_disk", "support.training_run"]


@pytest.fixture(autouse=True, scope="session")
def _in_float32_by_pytorch() -> Iterator[None]:
    """The same defaults on every machine: those of a processor without bfloat16 where ncnn is not installed."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(devices, "multiplies_bf16", lambda: False)
        patched.setattr(loading, "find_spec", lambda name: None)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with paper-size reference data and photographs beside the clone, or a visible skip."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the reference data in ../shared, which is not here")
    return folder


@pytest.fixture(scope="session")
def val32() -> Path:
    """The validation images of the clone, or a visible skip: the source distribution has none."""
    folder = REPOSITORY / "data" / "val"
    if not folder.is_dir():
        pytest.skip("needs data/val of the repository, which is not here")
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """Small files that travel with the tests: manifests, schedules and the tiny parity cases."""
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_upscaler().save_pretrained(folder)
    return folder


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """What ``lpnsr upscale`` asks of Upscaler."""
    seen = Watched()
    monkeypatch.setattr(Upscaler, "from_pretrained", seen.from_pretrained)
    monkeypatch.setattr(
        Upscaler, "upscale_rows", lambda upscaler, rows, **how: seen.upscale_rows(upscaler, rows, **how)
    )
    return seen


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with three pictures of 12 x 10; ``run`` takes the tiny model."""
    monkeypatch.setenv(MODEL, str(tiny_model))
    monkeypatch.chdir(tmp_path)
    make("photos/b2.png", "photos/b10.jpg", "photos/deep/c.png")
    return tmp_path
