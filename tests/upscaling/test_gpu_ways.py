"""What the program does on a GPU, as far as a processor can show it: batches, noise ahead, bfloat16, compiling."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lpnsr.diffusion import NoiseField, ahead
from lpnsr.errors import ConfigError
from lpnsr.networks import build
from lpnsr.system import memory
from lpnsr.upscaling.planning import MOST_AT_ONCE, Planner, plan_model_tiles
from lpnsr.upscaling.upscaler import Upscaler
from support.tiny_model import tiny_upscaler


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, 3)).astype(np.float32)


def batched(up: Upscaler, monkeypatch: pytest.MonkeyPatch, most: int = 3) -> list[int]:
    """Let ``up`` restore up to ``most`` tiles at once; returns the list that takes how many it does."""
    monkeypatch.setattr(up._planner, "batch", lambda plan: most)
    restore, seen = up.restorer.restore, []

    def watched(lr: Tensor, *arguments: Any, **options: Any) -> Tensor:
        seen.append(len(lr))
        return restore(lr, *arguments, **options)

    monkeypatch.setattr(up.restorer, "restore", watched)
    return seen


def test_batches_of_tiles_make_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    up, image = tiny_upscaler(), picture(90, 250)
    expected = up(image, tile=64)
    seen, done = batched(up, monkeypatch), []
    found = up(image, tile=64, callback=lambda progress: done.append((progress.done, progress.step is None)))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    plan = up.plan(90, 250, 64)
    columns = len(plan.columns.starts)
    assert columns > 3
    assert max(seen) == 3
    assert sum(seen) == len(plan)
    assert [number for number, whole in done if whole] == list(range(1, len(plan) + 1))


def test_a_batch_that_does_not_fit_is_done_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    up, image = tiny_upscaler(), picture(64, 250)
    expected = up(image, tile=64)
    seen = batched(up, monkeypatch)
    watched = up.restorer.restore

    def limited(lr: Tensor, *arguments: Any, **options: Any) -> Tensor:
        sr = watched(lr, *arguments, **options)
        if len(lr) > 1:
            raise torch.OutOfMemoryError("gpu")
        return sr

    monkeypatch.setattr(up.restorer, "restore", limited)
    np.testing.assert_array_equal(up(image, tile=64), expected)
    assert seen[0] == 3
    assert set(seen[1:]) == {1}


def test_batches_are_for_devices_with_memory_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    up = tiny_upscaler()
    plan = plan_model_tiles(500, 500, 64, up.spec.inference)
    tile = up._planner._tile_bytes(plan)
    assert up._planner.batch(plan) == 1
    monkeypatch.setattr(Planner, "_apart", True)
    for free, most in ((1.0, 1), (4.0, 3), (1000.0, MOST_AT_ONCE)):
        monkeypatch.setattr(memory, "available_memory", lambda device, free=free: int(free * tile))
        assert up._planner.batch(plan) == most


def test_noise_drawn_ahead_is_the_same_noise() -> None:
    draw, shape = NoiseField(3).draw([(0, 0), (5, -7)]), (2, 4, 9, 11)
    sent = ahead(draw, 4, shape, torch.device("cpu"))
    for step in range(1, 5):
        assert torch.equal(sent(step, shape), draw(step, shape))
    with pytest.raises(ConfigError, match="shape"):
        sent(1, (2, 4, 9, 12))


class Kinds(TorchDispatchMode):
    """Collects (operation, types of its tensors)."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[str, frozenset[torch.dtype]]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [a for a in args if isinstance(a, Tensor)]
        self.seen.add((func._overloadpacket.__name__, frozenset(t.dtype for t in tensors)))
        return func(*args, **(kwargs or {}))


def test_in_bfloat16_the_chain_and_the_codebook_stay_in_float32() -> None:
    up = tiny_upscaler("bfloat16")
    lr = torch.rand(1, 3, 32, 32)
    states = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), Kinds() as kinds:
        up.restorer.restore(lr, NoiseField(0).draw(), callback=states.append)
    assert {state.mean.dtype for state in states} == {torch.float32}
    assert {state.x_previous.dtype for state in states} == {torch.float32}
    convolutions = {types for name, types in kinds.seen if "conv" in name}
    assert convolutions == {frozenset({torch.bfloat16})}
    config = {"type": "vq_autoencoder", "width": 32, "channel_mult": [1, 1], "codebook_size": 64}
    codebook = build(config).quantize
    z = torch.randn(1, 3, 8, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16), Kinds() as kinds:
        near = codebook.nearest(z)
    distances = (z.float().permute(0, 2, 3, 1)[..., None, :] - codebook.embedding.weight).square().sum(-1)
    assert torch.equal(near, distances.argmin(-1))
    assert ("addmm", frozenset({torch.float32})) in kinds.seen


def test_norms_gather_in_float32() -> None:
    """Of 16,384 values about 300 a bfloat16 sum would lose everything."""
    norm = build({"type": "vq_autoencoder", "width": 32, "codebook_size": 8}).encoder.down[0].block[0].norm1
    x = 300 + torch.randn(1, 32, 128, 128)
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(x.bfloat16())
    assert (out.float() - norm(x.bfloat16().float())).abs().max() < 0.05


@pytest.mark.parametrize(
    ("part", "backend"),
    [
        ("noise_predictor", "aot_eager"),  # followed as one graph, not translated
        pytest.param("denoiser", "inductor", marks=pytest.mark.slow),
    ],
)
def test_compiled_networks_compute_the_same(
    part: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "inductor" and not any(map(shutil.which, ("g++", "clang++", "cl"))):
        pytest.skip("needs a C++ compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    restorer = tiny_upscaler().restorer
    z, condition, t = torch.randn(1, 4, 24, 32), torch.randn(1, 7, 24, 32), torch.tensor([2])
    calls: dict[str, Callable[[Any], Any]] = {
        "denoiser": lambda net: net(z, t, condition),
        "noise_predictor": lambda net: net(z, z, condition, t)[0],
    }
    net = getattr(restorer, part)
    with torch.no_grad():
        expected = calls[part](net)
        found = calls[part](torch.compile(net, fullgraph=True, dynamic=False, backend=backend))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
