"""Metrics whose weights would have to be downloaded, where there is a network and where there is none."""

from __future__ import annotations

import json
import socket
import sys
import threading
import types
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from typer.testing import CliRunner

from lpnsr.apps.cli import app
from lpnsr.evaluation.errors import MetricUnavailable
from lpnsr.evaluation.metrics import metrics_for, network
from support.evaluation_references import EXAMPLES
from support.http_server import serving

PYIQA = ["lpips-alex", "lpips-vgg", "pi", "clipiqa", "musiq", "maniqa"]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    network.answers.cache_clear()
    yield
    network.answers.cache_clear()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a host that takes connections and says nothing; the hub is one too."""
    monkeypatch.setattr(network, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        yield address


def pyiqa_that(create: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.SimpleNamespace(create_metric=lambda name, **_: create())
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    monkeypatch.setattr("lpnsr.evaluation.metrics.pyiqa.metadata.version", lambda _: "9.9")


@pytest.mark.parametrize("name", PYIQA)
def test_without_a_network_nothing_is_tried_and_that_is_told(
    name: str, silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_hub() -> None:  # as timm does for MANIQA
        huggingface_hub.hf_hub_download("a/b", "model.safetensors", cache_dir=tmp_path, endpoint=silent)

    def from_url() -> None:  # as torch.hub does for the others; without a limit it would wait for ever
        urllib.request.urlopen(f"{silent}/weights.pth").read()

    tries: list[str] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: tries.append("again"))
    for create in (from_hub, from_url):
        pyiqa_that(create, monkeypatch)
        with pytest.raises(MetricUnavailable) as raised:
            metrics_for([name])
        assert "its weights are not on this machine, and 127.0.0.1 cannot be reached" in str(raised.value)
    assert tries == []
    assert not huggingface_hub.is_offline_mode()
    with serving({"w": b"weights"}) as (address, _):
        assert urllib.request.urlopen(f"{address}/w").read() == b"weights"


def test_what_is_on_this_machine_needs_no_network(silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "w").write_bytes(b"x")
    (tmp_path / "models--a--b" / "refs").mkdir()
    (tmp_path / "models--a--b" / "refs" / "main").write_text("0123")

    def create() -> object:
        assert Path(huggingface_hub.hf_hub_download("a/b", "w", cache_dir=tmp_path)).read_bytes() == b"x"
        return lambda image: torch.tensor(7.0)

    pyiqa_that(create, monkeypatch)
    assert metrics_for(["musiq"])[0](torch.rand(3, 64, 64)) == 7


def test_what_else_goes_wrong_is_not_put_on_the_network(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def create() -> None:
        raise ModuleNotFoundError("No module named 'timm'")

    pyiqa_that(create, monkeypatch)
    with pytest.raises(MetricUnavailable, match=r"No module named 'timm'\)\. Install all it needs"):
        metrics_for(["maniqa"])


def test_a_hub_thatanswers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"w": b"weights"}) as (address, _):
        monkeypatch.setattr(constants, "ENDPOINT", address)  # which has no page of its own: 404 is an answer too
        with network.offline_if_silent() as silent:
            assert silent is None
            assert not huggingface_hub.is_offline_mode()
            assert urllib.request.urlopen(f"{address}/w").read() == b"weights"


def test_a_silent_hub_is_asked_once(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(network, "is_reachable", lambda url: asked.append(url) is not None)
    for _ in range(3):
        with network.offline_if_silent() as host:
            assert host == "127.0.0.1"
    assert asked == [silent]


def test_a_name_that_takes_long_to_look_up(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ever = threading.Event()
    monkeypatch.setattr(network, "is_reachable", lambda url: ever.wait(20))
    with network.offline_if_silent() as host:
        assert host == "127.0.0.1"
    ever.set()


def test_offline_by_the_users_wish_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(network, "is_reachable", lambda url: pytest.fail("asked"))
    with network.offline_if_silent():
        assert huggingface_hub.is_offline_mode()
    assert huggingface_hub.is_offline_mode()


def test_the_evaluation_goes_on_without_the_metric(
    silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyiqa_that(lambda: urllib.request.urlopen(f"{silent}/w"), monkeypatch)
    (tmp_path / "sr").mkdir()
    (tmp_path / "sr" / "a.png").write_bytes((EXAMPLES / "dog.png").read_bytes())
    command = ["evaluate", "--sr", tmp_path / "sr", "--metrics", "niqe,maniqa", "-o", tmp_path / "out"]
    result = CliRunner().invoke(app, [str(word) for word in command])
    assert result.exit_code == 0
    assert "maniqa: not available. pyiqa cannot set up maniqa: its weights are not on this machine" in result.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(report["metrics"]) == ["niqe"]
    assert list(report["unavailable"]) == ["maniqa"]
