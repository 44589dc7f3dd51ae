"""The noise belongs to a place: windows of one field agree wherever they overlap."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lpnsr.diffusion import NoiseField
from lpnsr.errors import ConfigError

FIELD = NoiseField(7)
places = st.integers(-150, 150)
sizes = st.integers(1, 90)


@settings(max_examples=30, deadline=None)
@given(top=places, left=places, height=sizes, width=sizes, data=st.data())
def test_a_window_of_a_window(top: int, left: int, height: int, width: int, data: st.DataObject) -> None:
    down, right = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    whole = FIELD.window(3, top, left, height, width, 3)
    part = FIELD.window(3, top + down, left + right, height - down, width - right, 2)
    assert whole.shape == (3, height, width)
    assert torch.equal(part, whole[:2, down:, right:])


def test_everything_in_the_key_matters() -> None:
    fields = [
        FIELD.window(3, 0, 0, 8, 8, 2),
        NoiseField(8).window(3, 0, 0, 8, 8, 2),
        FIELD.window(2, 0, 0, 8, 8, 2),
        FIELD.window(3, 64, 0, 8, 8, 2),
        FIELD.window(3, 0, 64, 8, 8, 2),
        FIELD.window(3, -64, 0, 8, 8, 2),
        FIELD.window(3, 0, -64, 8, 8, 2),
        NoiseField(2**64 - 1).window(3, 0, 0, 8, 8, 2),
        NoiseField(2**64 - 2).window(3, 0, 0, 8, 8, 2),
    ]
    values = torch.cat([field.flatten() for field in fields])
    assert len(values.unique()) == len(fields) * 128


def test_is_standard_normal() -> None:
    field = FIELD.window(0, -100, -100, 512, 512, 3).double()
    assert field.mean().abs() < 5e-3
    assert abs(field.std() - 1) < 5e-3
    assert abs((field.abs() < 1).double().mean() - 0.6827) < 5e-3
    assert (field[:, 1:] * field[:, :-1]).mean().abs() < 5e-3
    assert (field[0] * field[1]).mean().abs() < 5e-3


def test_values_do_not_change_between_versions() -> None:
    """Results are reproduced by seed: a change here changes every image that users have made."""
    found = NoiseField(0).window(4, 62, 63, 2, 2, 1)
    expected = torch.tensor([0.8187504, -0.1202934, 0.9236774, 1.1808059])
    torch.testing.assert_close(found.flatten(), expected, rtol=0, atol=1e-6)


def test_draw_for_a_batch() -> None:
    draw = FIELD.draw([(0, 0), (5, -9)])
    found = draw(1, (2, 3, 10, 20))
    assert found.dtype == torch.float32
    assert torch.equal(found[1], FIELD.window(1, 5, -9, 10, 20, 3))
    with pytest.raises(ConfigError, match="1 windows asked of 2 offsets"):
        draw(1, (1, 3, 10, 20))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_impossible_seeds(seed: int) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        NoiseField(seed)
