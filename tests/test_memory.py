"""The tiles that are chosen without being asked for."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from lpnsr import imaging
from lpnsr.diffusion import Schedule
from lpnsr.errors import LpnsrWarning
from lpnsr.memory import SMALLEST_TILE, affordable_tile, bytes_per_pixel, usual_tile
from lpnsr.networks import BicubicUpsampler, build
from lpnsr.pipeline import Options, _bicubic_rows
from lpnsr.restoration import Restorer
from tiny_model import NETWORKS, tiny_upscaler

GIB = 2**30


def test_the_usual_tile_follows_the_cost_of_the_model_alone() -> None:
    assert [usual_tile(cost) for cost in (1, 8192, 32768, 131072, 10**7)] == [512, 512, 384, 192, 64]


def test_a_smaller_tile_where_memory_is_short() -> None:
    def needed(tile: int) -> int:
        return tile**2 * 131072

    assert [affordable_tile(192, needed, free * GIB) for free in (100, 6, 4, 2, 1, 0)] == [192, 192, 128, 96, 64, 16]
    assert affordable_tile(64, needed, GIB // 2) == 48
    assert affordable_tile(192, lambda tile: GIB, 2 * GIB) == 192  # an image smaller than the tile needs no more
    assert affordable_tile(192, needed, 0) == SMALLEST_TILE


def test_the_free_memory_changes_no_tile_while_it_suffices(monkeypatch: pytest.MonkeyPatch) -> None:
    up = tiny_upscaler()
    cost = bytes_per_pixel(up.restorer)
    image = torch.empty(3, 512, 512)
    result = 4 * 16 * image.numel()

    def tile(free: float) -> int:
        monkeypatch.setattr(imaging, "available_memory", lambda device: int(free) + result)
        return up._tile_size(image, Options())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {tile(free * 512**2 * cost) for free in (1.3, 2, 100)} == {512}
    with pytest.warns(LpnsrWarning, match=r"tiles of 512 px.* going on with tiles of 384 px.*tile=384"):
        assert tile(0.9 * 512**2 * cost) == 384


@pytest.mark.parametrize(
    ("autoencoder", "largest"),
    [
        ({"type": "vq_autoencoder", "embed_dim": 4, "codebook_size": 8}, 256 * 4 * 4),  # the codebook looks values up
        (NETWORKS["autoencoder"], 64),
    ],
)
def test_the_cost_is_eight_times_the_largest_activation(autoencoder: dict[str, Any], largest: int) -> None:
    parts = {name: build(config) for name, config in (NETWORKS | {"autoencoder": autoencoder}).items()}
    restorer = Restorer(Schedule.geometric(steps=4, kappa=0.5), **parts)
    assert bytes_per_pixel(restorer) == 8 * 4 * largest
    assert not any(parameter.is_meta for parameter in restorer.parameters())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (37, 41)])
def test_rows_of_the_bicubic_enlargement_are_those_of_the_whole_bit_for_bit(height: int, width: int) -> None:
    lr = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    whole = BicubicUpsampler()(lr[None])
    for start in range(0, 4 * height, 7):
        for rows in (1, 10, 64):
            stop = min(4 * height, start + rows)
            assert torch.equal(_bicubic_rows(lr, start, stop), whole[..., start:stop, :])
