"""Pictures of a frozen pre-upsampler in the pool: where they belong, once, and on from where a call ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from lpnsr.training.data.pairs import PairPool
from lpnsr.training.data.pictures import fill, is_filled
from lpnsr.training.data.pool import never, prepare_pool
from lpnsr.training.data.recipe import DataRecipe

RECIPE = DataRecipe(crop=64, pool=20, held_out=2, validation=4, degradations={"classic": 1.0, "light": 1.0})


class Nearest(nn.Module):
    """U by repetition, with the LR image for its features."""

    feature_channels = 3

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("gain", torch.tensor(gain))
        self.seen = 0

    def upsample(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        self.seen += len(lr)
        return F.interpolate(lr, scale_factor=4) * self.gain, lr * self.gain


@pytest.fixture
def pool(tmp_path: Path) -> PairPool:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(2)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (100, 120, 3), dtype=np.uint8)).save(path)
    prepare_pool(paths, RECIPE, 0, tmp_path / "pool", workers=1)
    return PairPool(tmp_path / "pool")


def filled(pool: PairPool, net: Nearest, stop: Callable[[], bool] = never) -> bool:
    return fill(pool, "start", net, nullcontext, stop)


def test_a_batch_has_the_part_of_the_picture_that_belongs_to_it(pool: PairPool) -> None:
    assert filled(pool, Nearest())
    pool.add("start")
    for step in range(4):
        batch = pool.batch(0, step, 3, 32, ("start",))
        assert batch.start is not None
        assert batch.hr.shape == batch.start.shape == (3, 3, 32, 32)
        torch.testing.assert_close(batch.start, F.interpolate(batch.lr, scale_factor=4), atol=5e-4, rtol=0)
        torch.testing.assert_close(batch.features, batch.lr, atol=5e-4, rtol=0)
        reduced = F.interpolate(batch.hr, scale_factor=0.25, mode="area")
        assert (reduced - batch.lr).square().mean() < 0.5 * (reduced.flip(-1) - batch.lr).square().mean()
    with torch.autocast("cpu", torch.bfloat16):  # as in validation
        held = list(pool.held_out_batches(3, ("start",)))
    assert [len(batch.hr) for batch in held] == [3, 1]
    assert held[0].hr.shape[-1] == 64


def test_pictures_are_computed_once(pool: PairPool) -> None:
    net = Nearest()
    assert not is_filled(pool, "start")
    assert filled(pool, net)
    assert is_filled(pool, "start")
    assert filled(pool, net)
    assert net.seen == len(pool) == 24


def test_an_ended_call_is_gone_on_with(pool: PairPool) -> None:
    net = Nearest()
    assert not filled(pool, net, stop=lambda: True)
    assert net.seen == 8
    assert not is_filled(pool, "start")
    assert filled(pool, net)
    assert net.seen == 24
    pool.add("start")
    assert pool.pictures["start"].float().mean((1, 2, 3)).min() > 0.1


def test_another_network_begins_anew(pool: PairPool) -> None:
    assert filled(pool, Nearest())
    other = Nearest(0.5)
    assert not filled(pool, other, stop=lambda: True)
    assert not filled(pool, Nearest(), stop=lambda: True), "what the other has overwritten is not there"
    assert filled(pool, other)
    pool.add("start")
    batch = pool.batch(0, 0, 3, 32, ("start",))
    torch.testing.assert_close(batch.features, batch.lr / 2, atol=5e-4, rtol=0)


def test_a_file_that_is_gone_is_made_again(pool: PairPool) -> None:
    assert filled(pool, Nearest())
    (pool.folder / "features.npy").unlink()
    assert filled(pool, Nearest())
    pool.add("start")
    assert pool.pictures["features"].float().mean() > 0.1
