"""Checkpoint files of any wrapping become one state dict, and nothing but tensors is ever unpickled."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from lpnsr.errors import CheckpointError
from lpnsr.system.tensor_files import read_state_dict, unwrap

STATE = {
    "conv.weight": torch.arange(6.0).reshape(2, 3),
    "blocks.0.norm.bias": torch.ones(2, dtype=torch.float16),
    "steps": torch.tensor(3),
}
WRONG = {name: torch.full_like(value, 9) for name, value in STATE.items()}


def same(found: dict[str, Tensor], state: dict[str, Tensor] = STATE) -> bool:
    return list(found) == list(state) and all(
        found[k].dtype == state[k].dtype and torch.equal(found[k], state[k]) for k in state
    )


def wrap(state: dict[str, Any], how: str) -> dict[str, Any]:
    """One more wrapping around ``state``: a dictionary of that name, or that prefix on all names."""
    if how.endswith("."):
        return {how + name: value for name, value in state.items()}
    return {how: state, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, "betas": [0.9, 0.999]}


WRAPPINGS = ["state_dict", "params", "params_ema", "module", "module.", "_orig_mod.", "params_ema."]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(WRAPPINGS), max_size=5))
def test_wrappings_come_off_in_every_combination(ways: list[str]) -> None:
    wrapped: dict[str, Any] = STATE
    for how in ways:
        wrapped = wrap(wrapped, how)
    assert same(unwrap(wrapped, "test"))


@pytest.mark.parametrize(
    "wrapped",
    [
        {"params": WRONG, "params_ema": STATE},
        {"params_ema": STATE, "params": WRONG},
        {"state_dict": {"params": WRONG, "params_ema": {"module": STATE}}},
        {"state_dict": WRONG, "params_ema": wrap(STATE, "module.")},
        {"params_ema": None, "params": STATE},
        {"params_ema": {}, "state_dict": STATE, "note": "text", "lr": 0.1},
        OrderedDict(state_dict=OrderedDict(STATE)),
        {"params": {name: nn.Parameter(value, requires_grad=False) for name, value in STATE.items()}},
    ],
)
def test_the_averaged_weights_are_preferred(wrapped: dict[str, Any]) -> None:
    assert same(unwrap(wrapped, "test"))


def test_wrappers_inside_a_name_come_off() -> None:
    """A compiled or parallel layer inside of a network."""
    inside = {"conv._orig_mod.weight": STATE["conv.weight"], "blocks.0.module.norm.bias": STATE["blocks.0.norm.bias"]}
    assert list(unwrap(inside, "test")) == ["conv.weight", "blocks.0.norm.bias"]


@pytest.mark.parametrize("how", ["zip", "older", "safetensors", "half"])
def test_files_of_every_format(tmp_path: Path, how: str) -> None:
    path = tmp_path / ("a.safetensors" if how == "safetensors" else "a.pth")
    if how == "safetensors":
        save_file(wrap(wrap(STATE, "module."), "params_ema."), path)
        assert same({name: read_state_dict(path)[name] for name in STATE})
        return
    torch.save({"state_dict": wrap(STATE, "module.")}, path, _use_new_zipfile_serialization=how != "older")
    assert zipfile.is_zipfile(path) == (how != "older")
    assert same(read_state_dict(path))


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


class Harmless:
    """No attack, but code all the same."""


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("where", ["beside", "inside", "alone"])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, where: str, older: bool) -> None:
    created = tmp_path / "created"
    bad = Malicious(created)
    content: Any = {"beside": {"state_dict": STATE, "args": bad}, "inside": {**STATE, "x": bad}, "alone": bad}[where]
    path = tmp_path / "evil.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not older)
    with pytest.raises(CheckpointError, match="refused"):
        read_state_dict(path)
    assert not created.exists()
    with path.open("rb"):  # the test itself is able to fail: the pickle does what it says
        torch.load(path, weights_only=False)
    assert created.exists()


def test_a_plain_malicious_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Malicious(tmp_path / "created")))
    with pytest.raises(CheckpointError):
        read_state_dict(path)
    assert not (tmp_path / "created").exists()


def test_objects_are_refused_even_if_harmless(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "args": Harmless()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="Harmless"):
        read_state_dict(tmp_path / "a.pth")


def _saved() -> bytes:
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 100, b"<html>no</html>", b"PK\x03\x04", _saved()[:-40], _saved()[:300]]
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        read_state_dict(tmp_path / name)


def test_a_file_of_another_kind_is_not_called_dangerous(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(CheckpointError, match="damaged or no PyTorch checkpoint"):
        read_state_dict(tmp_path / "a.png")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no.pth", tmp_path / "no.safetensors"):
        with pytest.raises(CheckpointError, match=path.name):
            read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "no tensors"),
        ({"epoch": 3}, "no tensors"),
        ([torch.ones(2)], "no tensors"),
        (torch.ones(2), "no name"),
        ({"module": torch.ones(2)}, "no name"),
        ({"a.module.b": torch.ones(2), "a.b": torch.ones(2)}, "two tensors are named 'a.b'"),
        ({"a": torch.ones(2, device="meta")}, "plain dense"),
        ({"a": torch.eye(2).to_sparse()}, "plain dense"),
    ],
)
def test_content_that_is_no_state_dict(content: Any, says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        unwrap(content, "file.pth")
