"""Fixtures shared by all tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from support.fake_upscaler import fake_module, make
from support.repository import REPOSITORY

pytest_plugins = ["support.small_disk", "support.training_run"]


@pytest.fixture(autouse=True, scope="session")
def _two_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with paper-size reference data and photographs beside the clone, or a visible skip."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the reference data in ../shared, which is not here")
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """Small files that travel with the tests: manifests, schedules and the tiny parity cases."""
    return Path(__file__).parent / "data"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class that ``lpnsr upscale`` takes for Upscaler; it enlarges by repetition and records what it is asked."""
    module = fake_module()
    monkeypatch.setitem(sys.modules, "lpnsr.upscaling.upscaler", module)
    return module.Upscaler


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with three pictures of 12 x 10."""
    monkeypatch.chdir(tmp_path)
    make("photos/b2.png", "photos/b10.jpg", "photos/deep/c.png")
    return tmp_path
