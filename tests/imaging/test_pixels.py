"""Resampling, output sizes, and colours under transparent pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lpnsr.errors import ConfigError
from lpnsr.imaging import Photo, fill_transparent, output_size, resize
from lpnsr.imaging.alpha import fill_strips
from lpnsr.imaging.resampling import resize_strips

SIDES = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from([np.uint8, np.uint16]), st.integers(0, 65535))
def test_resize_keeps_a_constant_exactly(height, width, new_height, new_width, dtype, value):
    value &= np.iinfo(dtype).max
    out = resize(np.full((height, width, 3), value, dtype), (new_height, new_width))
    assert out.shape == (new_height, new_width, 3)
    assert out.dtype == dtype
    assert (out == value).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_shrinking_keeps_the_mean_and_does_not_alias(dtype):
    top = np.iinfo(dtype).max
    stripes = np.zeros((64, 64, 1), dtype)
    stripes[:, ::2] = top  # the finest pattern: point sampling would make it all black or all white
    out = resize(stripes, (16, 16))
    assert abs(float(out.mean()) - top / 2) < 0.01 * top
    assert out.std() < 0.02 * top


def test_resize_agrees_with_pillow_in_8_bits():
    pixels = np.random.default_rng(0).integers(60, 190, (40, 60, 3), dtype=np.uint8)  # nothing to clip
    for size in ((17, 23), (80, 90), (160, 240)):
        expected = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))
        assert np.abs(resize(pixels, size).astype(int) - expected).max() <= 1


RESIZED = [((40, 60), (17, 23)), ((40, 60), (80, 90)), ((37, 5), (9, 40)), ((1, 1), (3, 2)), ((64, 3), (1, 1))]


@pytest.mark.parametrize(("size", "new_size"), RESIZED)
def test_resize_agrees_with_torch(size, new_size):
    pixels = np.random.default_rng(0).random((*size, 2), dtype=np.float32)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(planes, size=new_size, mode="bicubic", antialias=True)
    np.testing.assert_allclose(resize(pixels, new_size), expected[0].permute(1, 2, 0), rtol=0, atol=2e-5)


@pytest.mark.parametrize(("size", "new_size"), [*RESIZED, ((30, 20), (30, 20)), ((30, 20), (30, 50))])
@pytest.mark.parametrize("rows", [1, 7])
def test_resize_in_strips_is_the_same_bit_for_bit(size, new_size, rows):
    planes = torch.rand(2, *size, generator=torch.Generator().manual_seed(0))
    strips = list(resize_strips(iter(planes.split(3, 1)), size, new_size, rows=rows))
    assert {strip.shape[1] for strip in strips[:-1]} <= {3 if size == new_size else rows}
    whole = resize(planes.permute(1, 2, 0).numpy(), new_size)
    np.testing.assert_array_equal(torch.cat(strips, 1).permute(1, 2, 0), whole)


def test_resize_is_16_bit_all_the_way():
    ramp = np.arange(0, 60000, 1000, dtype=np.uint16)[None, :, None].repeat(4, 0)
    out = resize(ramp, (16, 240))
    assert len(np.unique(out)) > 230
    assert (np.diff(out[0, 8:-8, 0].astype(int)) > 0).all()


def test_resize_of_floats_and_planes():
    plane = np.random.default_rng(0).random((9, 7)).astype(np.float32)
    out = resize(plane, (36, 28))
    assert out.dtype == np.float32
    assert out.shape == (36, 28)
    same = resize(plane, (9, 7))
    np.testing.assert_array_equal(same, plane)
    assert same is not plane


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 800))
def test_output_size_rounds_scale_times_input(height, width, hundredths):
    scale = hundredths / 100
    for side, out in zip((height, width), output_size((height, width), scale=scale), strict=True):
        distance = abs(100 * out - hundredths * side)  # in hundredths of a pixel, without rounding errors
        assert distance < 50 or (distance == 50 and out % 2 == 0) or out == 1


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"scale": 2.3}, (34, 46)),  # 34.5
        ({"scale": 3.5}, (52, 70)),  # 52.5
        ({"scale": 3.7}, (56, 74)),  # 55.5
        ({"scale": 0.01}, (1, 1)),
        ({"width": 30}, (22, 30)),
        ({"height": 30}, (30, 40)),
        ({"width": 7, "height": 9}, (9, 7)),
        ({"max_side": 100}, (75, 100)),
    ],
)
def test_output_size(given_, expected):
    assert output_size((15, 20), **given_) == expected


@pytest.mark.parametrize(
    "given_",
    [
        {},
        {"scale": 2, "width": 3},
        {"scale": 0},
        {"scale": -1},
        {"scale": math.nan},
        {"scale": math.inf},
        {"width": 0},
        {"max_side": -5},
        {"max_side": 5, "height": 5},
    ],
)
def test_output_size_refuses(given_):
    with pytest.raises(ConfigError):
        output_size((15, 20), **given_)


def sprite(dtype: type, size: tuple[int, int] = (40, 48)) -> tuple[np.ndarray, np.ndarray]:
    """An orange disc on transparent black, the usual way of storing it."""
    y, x = np.mgrid[: size[0], : size[1]]
    inside = (y - 20) ** 2 + (x - 20) ** 2 < 150
    top = np.iinfo(dtype).max
    colour = (np.array([1.0, 0.5, 0.1]) * top).astype(dtype)
    return np.where(inside[..., None], colour, 0).astype(dtype), np.where(inside, top, 0).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparent_pixels_take_the_colour_around_them(dtype):
    pixels, alpha = sprite(dtype)
    filled = fill_transparent(pixels, alpha)
    assert filled.dtype == dtype
    colour = pixels[20, 20].astype(int)
    assert np.abs(filled.astype(int) - colour).max() <= 1


def test_fill_is_smooth_and_leaves_visible_pixels_alone():
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (33, 47, 3), dtype=np.uint8)
    alpha = np.where(generator.random((33, 47)) < 0.2, generator.integers(1, 256, (33, 47)), 0).astype(np.uint8)
    alpha[20:] = 0
    filled = fill_transparent(pixels, alpha)
    np.testing.assert_array_equal(filled[alpha > 3], pixels[alpha > 3])
    deep = filled[26:].astype(int)
    assert np.abs(np.diff(deep, axis=0)).max() < 16
    assert np.abs(np.diff(deep, axis=1)).max() < 16
    assert deep.min() > 40  # between the colours above, not black


@pytest.mark.parametrize("heights", [[1] * 40, [7, 33]])
def test_fill_does_not_depend_on_strips_or_on_what_is_far_away(heights, monkeypatch):
    pixels, alpha = sprite(np.uint8)
    whole = fill_transparent(pixels, alpha)
    monkeypatch.setattr("lpnsr.imaging.alpha._BLOCK", 16)
    blocks = fill_transparent(pixels, alpha)
    np.testing.assert_array_equal(blocks, whole)  # every block sees all
    monkeypatch.setattr("lpnsr.imaging.alpha._CONTEXT", 5)
    near = fill_transparent(pixels, alpha)
    parts = [
        Photo(pixels[stop - size : stop], alpha[stop - size : stop])
        for size, stop in zip(heights, np.cumsum(heights), strict=True)
    ]
    strips = list(fill_strips(iter(parts), *alpha.shape))
    np.testing.assert_array_equal(np.concatenate([strip.pixels for strip in strips]), near)
    np.testing.assert_array_equal(np.concatenate([strip.alpha for strip in strips]), alpha)
    visible = resize(alpha, (160, 192)) > 0
    assert np.abs(resize(near, (160, 192)).astype(int) - resize(whole, (160, 192)))[visible].max() <= 2


@pytest.mark.parametrize("value", [0, 255])
def test_nothing_to_fill_or_to_fill_from(value):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 1), dtype=np.uint8)
    np.testing.assert_array_equal(fill_transparent(pixels, np.full((5, 1), value, np.uint8)), pixels)


def test_no_fringe_after_resampling():
    """Composited on any ground, the enlarged sprite only shows mixtures of its colour and the ground."""
    pixels, alpha = sprite(np.uint8)
    big = resize(fill_transparent(pixels, alpha), (160, 192)).astype(float)
    share = resize(alpha, (160, 192))[..., None] / 255
    result = big * share + 255 * (1 - share)
    expected = pixels[20, 20] * share + 255 * (1 - share)
    assert np.abs(result - expected).max() < 2
