"""Tiles: coverage, sizes, and reassembly without a trace."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lpnsr.errors import ConfigError, InputError
from lpnsr.imaging import Blender, available_memory, memory, plan_tiles

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
    assert len({(box.height, box.width) for box in boxes}) == 1
    for length, axis in ((height, plan.rows), (width, plan.columns)):
        assert axis.starts[0] == 0
        assert axis.starts[-1] + axis.size == length
        assert axis.size <= max(tile, 1)
        assert all(a + axis.size - b >= overlap for a, b in pairwise(axis.starts))
        assert all(b > a for a, b in pairwise(axis.starts))
        assert all(start % multiple == 0 for start in axis.starts[:-1])
        if length > tile:
            assert axis.size % multiple == 0
        else:
            assert axis.size == length
        for index in range(1, len(axis.starts)):
            begin, end = axis.seam(index)
            assert axis.starts[index] <= begin <= end <= axis.starts[index - 1] + axis.size


def test_no_slivers_and_no_more_tiles_than_needed():
    plan = plan_tiles(130, 100, tile=128, overlap=16, multiple=8)
    assert plan.columns.starts == (0,)
    assert plan.rows.size == 80  # two tiles that share the work, not one of 128 and one of 18
    assert plan.rows.starts == (0, 50)
    assert len(plan_tiles(5, 7, tile=0, overlap=16)) == 1


def test_seams_lie_in_the_middle_of_the_overlap():
    axis = plan_tiles(1, 100, tile=64, overlap=16).columns
    begin, end = axis.seam(1)
    shared = (axis.starts[1], axis.starts[0] + axis.size)
    assert abs((begin - shared[0]) - (shared[1] - end)) <= 1
    assert end - begin == 8


@settings(max_examples=100, deadline=None)
@given(**plans, scale=st.sampled_from([1, 4]), batch=st.integers(1, 4))
def test_pieces_of_one_image_are_put_together_exactly(height, width, tile, overlap, multiple, scale, batch):
    assume(possible(tile, overlap, multiple))
    plan = plan_tiles(height, width, tile=tile, overlap=overlap, multiple=multiple)
    assume(len(plan) <= 400)
    generator = torch.Generator().manual_seed(height * 200 + width)
    whole = torch.randn(2, height * scale, width * scale, generator=generator)
    blender = Blender(plan, scale=scale, channels=2)
    blender.out.fill_(float("nan"))
    pieces = []
    for box in plan:
        rows = slice(box.top * scale, (box.top + box.height) * scale)
        pieces.append(whole[:, rows, box.left * scale : (box.left + box.width) * scale])
    for start in range(0, len(pieces), batch):
        blender.add(torch.stack(pieces[start : start + batch]))
    assert torch.equal(blender.out, whole)


@settings(max_examples=60, deadline=None)
@given(**plans)
def test_weights_sum_to_one(height, width, tile, overlap, multiple):
    """Blending is linear in the tiles: the weight of a tile is the result where it is 1 and the others are 0."""
    assume(possible(tile, overlap, multiple))
    plan = plan_tiles(height, width, tile=tile, overlap=overlap, multiple=multiple)
    assume(len(plan) <= 30)
    total = torch.zeros(1, height, width, dtype=torch.float64)
    for chosen in range(len(plan)):
        blender = Blender(plan, scale=1, channels=1, dtype=torch.float64)
        for index, box in enumerate(plan):
            blender.add(torch.full((1, 1, box.height, box.width), float(index == chosen)))
        assert blender.out.min() >= 0
        assert blender.out.max() <= 1
        total += blender.out
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


def test_fade_is_linear_and_context_is_thrown_away():
    plan = plan_tiles(1, 24, tile=16, overlap=8)
    blender = Blender(plan, scale=1, channels=1)
    blender.add(torch.zeros(1, 1, 1, 16))
    blender.add(torch.ones(1, 1, 1, 16))
    assert plan.columns.starts == (0, 8)
    assert blender.out.flatten().tolist() == [0.0] * 10 + [0.125, 0.375, 0.625, 0.875] + [1.0] * 10


def test_blender_refuses_wrong_pieces():
    plan = plan_tiles(10, 10, tile=8, overlap=2)
    blender = Blender(plan, scale=1, channels=1)
    size = plan.rows.size
    with pytest.raises(InputError, match="is next"):
        blender.add(torch.zeros(1, 1, size, size + 1))
    with pytest.raises(InputError, match="is next"):
        blender.add(torch.zeros(len(plan) + 1, 1, size, size))


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
