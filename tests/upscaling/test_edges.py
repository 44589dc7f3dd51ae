"""What a result is held to: no colour where the input has none, and composites within those of the input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lpnsr.imaging import Photo
from lpnsr.upscaling.kinds import photo_planes
from lpnsr.upscaling.lr_rows import LrRows
from lpnsr.upscaling.upscaler import Upscaler
from support.hard_inputs import picture, soft_shadow
from support.tiny_model import tiny_upscaler


@pytest.fixture(scope="module")
def lite() -> Upscaler:
    return Upscaler.from_pretrained("lite", device="cpu")


@pytest.fixture(scope="module")
def up() -> Upscaler:
    """A network that makes specks of any colour."""
    return tiny_upscaler()


def composite(photo: Photo, ground: tuple[int, int, int]) -> torch.Tensor:
    """(1, 3, H, W) in levels."""
    assert photo.alpha is not None
    top = np.iinfo(photo.pixels.dtype).max
    share = photo.alpha[..., None] / top
    return torch.from_numpy(photo.pixels / top * 255 * share + (1 - share) * np.array(ground)).permute(2, 0, 1)[None]


def excess(before: Photo, after: Photo, ground: tuple[int, int, int], *, opaque: bool = True) -> float:
    """By how many levels the composite of ``after`` leaves the range of that of ``before`` within two pixels.

    opaque: whether opaque pixels count too.
    """
    old, new = composite(before, ground), composite(after, ground)
    most, least = F.max_pool2d(old, 5, 1, 2), -F.max_pool2d(-old, 5, 1, 2)
    size = new.shape[-2:]
    over = new - F.interpolate(most, size)
    beyond = torch.maximum(over, F.interpolate(least, size) - new)
    assert after.alpha is not None
    counted = torch.from_numpy(opaque | (after.alpha < np.iinfo(after.alpha.dtype).max))
    return float(beyond[..., counted].max())


GROUNDS = [(0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 0, 255)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("options", [{}, {"scale": 2}, {"colour_fix": "none", "steps": 0}], ids=str)
def test_no_dashes_along_a_soft_shadow(lite, dtype, options):
    rgba = soft_shadow().astype(dtype) * (257 if dtype == np.uint16 else 1)
    photo = Photo(rgba[..., :3], rgba[..., 3])
    result = lite.upscale_photo(photo, **options)
    own_colours = options.get("colour_fix") == "none"  # of the network, in the opaque part
    for ground in GROUNDS:
        assert excess(photo, result, ground, opaque=not own_colours) <= 10


@pytest.mark.parametrize("options", [{}, {"steps": 0}], ids=str)
def test_no_dashes_along_a_soft_light(lite, options):
    rgba = soft_shadow()
    rgba[rgba[..., 3] == 255, :3] = (10, 10, 30)
    rgba[rgba[..., 3] < 255, :3] = 255
    photo = Photo(rgba[..., :3], rgba[..., 3])
    result = lite.upscale_photo(photo, **options)
    for ground in GROUNDS:
        assert excess(photo, result, ground) <= 10


def test_colours_and_alpha_that_change_together(lite):
    rgba = soft_shadow()
    rgba[10:20, 40:48] = (0, 0, 0, 128)
    photo = Photo(rgba[..., :3], rgba[..., 3])
    result = lite.upscale_photo(photo)
    for ground in GROUNDS:
        assert excess(photo, result, ground) <= 10


def test_opaque_pictures_are_as_without_alpha(up):
    alpha = np.full((40, 56), 255, np.uint8)
    plain = up.upscale_photo(Photo(picture())).pixels.astype(int)
    np.testing.assert_allclose(up.upscale_photo(Photo(picture(), alpha)).pixels, plain, atol=1)


@pytest.mark.parametrize("options", [{}, {"scale": 2.5}, {"colour_fix": "adain"}, {"noise": "gaussian"}], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_equal_channels_stay_equal(up, options, dtype):
    gray = np.repeat(picture()[..., :1], 3, 2)
    values = gray.astype(np.float32) / 255 if dtype == np.float32 else gray.astype(dtype)
    result = up(values, **options).astype(np.float64)
    assert result.shape[2] == 3
    assert (result.max(2) - result.min(2)).max() == 0


def test_colour_beside_gray_stays(up):
    mixed = picture()
    mixed[:, :28] = mixed[:, :28, :1]
    result = up(mixed).astype(int)
    chroma = result.max(2) - result.min(2)
    assert chroma[:, : 4 * 24].max() == 0
    assert chroma[:, 4 * 32 :].mean() > 5


def test_guides_leave_no_trace_of_strips():
    rgba = soft_shadow()
    photo = photo_planes(Photo(rgba[..., :3], rgba[..., 3]))
    parts = [torch.cat(list(LrRows.of_planes(photo).guides(rows)), 1) for rows in (3, 16, 40)]
    assert torch.equal(parts[0], parts[2])
    assert torch.equal(parts[1], parts[2])
