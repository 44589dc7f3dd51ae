"""Tiles: coverage, sizes, and reassembly without a trace."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lpnsr.errors import ConfigError, InputError
from lpnsr.imaging import Blender, InMemory, TilePlan, plan_tiles
from lpnsr.system import memory
from lpnsr.system.memory import available_memory
from lpnsr.system.scratch import Scratch

plans = {
    "height": st.integers(1, 150),
    "width": st.integers(1, 150),
    "tile": st.integers(1, 64),
    "overlap": st.integers(0, 40),
    "multiple": st.sampled_from([1, 2, 8]),
}


def possible(tile: int, overlap: int, multiple: int) -> bool:
    return tile // multiple * multiple - overlap >= multiple


@settings(max_examples=300, deadline=None)
@given(**plans)
def test_plan(height, width, tile, overlap, multiple):
    assume(possible(tile, overlap, multiple))
    plan = plan_tiles(height, width, tile=tile, overlap=overlap, multiple=multiple)
    boxes = list(plan)
    assert len(plan) == len(boxes)
    assert plan.pixels == sum(box.height * box.width for box in boxes)
    for length, axis in ((height, plan.rows), (width, plan.columns)):
        assert axis.starts[0] == 0
        extents = [axis.extent(index) for index in range(len(axis.starts))]
        assert axis.starts[-1] + extents[-1] == length
        assert set(extents[:-1]) <= {axis.size}
        assert axis.size <= max(tile, 1)
        assert all(a + axis.size - b >= overlap for a, b in pairwise(axis.starts))
        assert all(b > a for a, b in pairwise(axis.starts))
        assert all(start % multiple == 0 for start in axis.starts)
        if length > tile:
            assert extents[-1] > overlap
            assert extents[-1] >= axis.size // 2 or len(axis.starts) == 2 or axis.size < 4 * multiple
        else:
            assert axis.size == length
        bands = [axis.seam(index) for index in range(1, len(axis.starts))]
        assert all(a[1] <= b[0] for a, b in pairwise(bands))
        for index in range(1, len(axis.starts)):
            begin, end = axis.seam(index)
            assert axis.starts[index] <= begin <= end <= axis.starts[index - 1] + axis.size


def test_no_slivers_and_no_more_tiles_than_needed():
    plan = plan_tiles(130, 100, tile=128, overlap=16, multiple=8)
    assert plan.columns.starts == (0,)
    assert plan.rows.size == 80  # two tiles that share the work, not one of 128 and one of 18
    assert plan.rows.starts == (0, 64)
    rest = plan_tiles(1, 160, tile=50, overlap=10, multiple=20).columns
    assert (rest.size, rest.starts, rest.extent(3)) == (50, (0, 40, 80, 120), 40)
    moved = plan_tiles(1, 135, tile=50, overlap=10, multiple=20).columns  # 15 pixels would be left from 120 on
    assert (moved.size, moved.starts, moved.extent(3)) == (50, (0, 40, 80, 100), 35)


def test_a_720p_photo_costs_little_more_than_its_own_pixels() -> None:
    plan = plan_tiles(720, 1280, tile=224, overlap=32, multiple=64)
    assert plan.pixels <= 1.31 * 720 * 1280
    assert plan.columns.starts[-1] % 64 == 0


def test_the_last_tile_is_no_sliver() -> None:
    axis = plan_tiles(1, 24 * 64 + 40, tile=224, overlap=32, multiple=64).columns
    assert axis.extent(len(axis.starts) - 1) >= 112
    assert len(plan_tiles(5, 7, tile=0, overlap=16)) == 1


def test_seams_lie_in_the_middle_of_the_overlap():
    axis = plan_tiles(1, 100, tile=64, overlap=16).columns
    begin, end = axis.seam(1)
    shared = (axis.starts[1], axis.starts[0] + axis.size)
    assert abs((begin - shared[0]) - (shared[1] - end)) <= 1
    assert end - begin == 8


def blended(plan: TilePlan, tiles: Sequence[torch.Tensor], rows: int = 5, **options) -> torch.Tensor:
    blender = Blender(plan, channels=len(tiles[0]), **options)
    strips = []
    for tile in tiles:
        blender.add(tile)
        strips += blender.finished(rows)
    assert max(strip.shape[1] for strip in strips) <= rows
    return torch.cat(strips, 1)


class OnDisk(Scratch):
    """A canvas that forgets nothing but what was not written."""

    def __init__(self, shape):
        super().__init__(shape, np.float32)
        self.array.fill(np.nan)


@settings(max_examples=100, deadline=None)
@given(**plans, scale=st.sampled_from([1, 4]), rows=st.integers(1, 40), canvas=st.sampled_from([InMemory, OnDisk]))
def test_pieces_of_one_image_are_put_together_exactly(height, width, tile, overlap, multiple, scale, rows, canvas):
    assume(possible(tile, overlap, multiple))
    plan = plan_tiles(height, width, tile=tile, overlap=overlap, multiple=multiple)
    assume(len(plan) <= 400)
    generator = torch.Generator().manual_seed(height * 200 + width)
    whole = torch.randn(2, height * scale, width * scale, generator=generator)
    pieces = []
    for box in plan:
        part = slice(box.top * scale, (box.top + box.height) * scale)
        pieces.append(whole[:, part, box.left * scale : (box.left + box.width) * scale])
    assert torch.equal(blended(plan, pieces, rows, scale=scale, canvas=canvas), whole)


@settings(max_examples=60, deadline=None)
@given(**plans)
def test_weights_sum_to_one(height, width, tile, overlap, multiple):
    """Blending is linear in the tiles: the weight of a tile is the result where it is 1 and the others are 0."""
    assume(possible(tile, overlap, multiple))
    plan = plan_tiles(height, width, tile=tile, overlap=overlap, multiple=multiple)
    assume(len(plan) <= 30)
    total = torch.zeros(1, height, width)
    for chosen in range(len(plan)):
        tiles = [torch.full((1, box.height, box.width), float(i == chosen)) for i, box in enumerate(plan)]
        weights = blended(plan, tiles, scale=1)
        assert weights.min() >= 0
        assert weights.max() <= 1
        total += weights
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


@pytest.mark.parametrize("turned", [False, True])
def test_fade_is_linear_and_context_is_thrown_away(turned):
    plan = plan_tiles(24, 1, tile=16, overlap=8) if turned else plan_tiles(1, 24, tile=16, overlap=8)
    shape = (1, plan.rows.size, plan.columns.size)
    out = blended(plan, [torch.zeros(shape), torch.ones(shape)], scale=1)
    assert (plan.rows if turned else plan.columns).starts == (0, 8)
    assert out.flatten().tolist() == [0.0] * 10 + [0.125, 0.375, 0.625, 0.875] + [1.0] * 10


def test_blender_refuses_wrong_pieces():
    plan = plan_tiles(10, 10, tile=8, overlap=2)
    blender = Blender(plan, scale=1, channels=1)
    size = plan.rows.size
    with pytest.raises(InputError, match="is next"):
        blender.add(torch.zeros(1, size, size + 1))
    for _ in plan:
        blender.add(torch.zeros(1, size, size))
    with pytest.raises(InputError, match="is next"):
        blender.add(torch.zeros(1, size, size))


@pytest.mark.parametrize(
    "wrong", [{"tile": 16, "overlap": 16}, {"tile": -1, "overlap": 0}, {"tile": 20, "overlap": 12, "multiple": 16}]
)
def test_tiles_that_cannot_work(wrong):
    with pytest.raises(ConfigError, match="tile"):
        plan_tiles(100, 100, **wrong)
    with pytest.raises(InputError):
        plan_tiles(0, 5, tile=8, overlap=1)


def test_available_memory_is_plausible():
    assert 2**20 < available_memory() < 2**50


def test_the_container_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    group = tmp_path / "outer"
    group.mkdir()
    (group / "memory.max").write_text("max\n")
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 500000\n")
    monkeypatch.setattr(memory, "_text", _with_group(memory._text))
    assert available_memory() == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() > 2**20
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("700000")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("600000")
    assert available_memory() == 100_000


def _with_group(text):
    return lambda path: "0::/outer\n" if str(path) == "/proc/self/cgroup" else text(path)
