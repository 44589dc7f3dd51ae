"""PIL images in memory: as a viewer shows them, and as their files are read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpnsr.imaging import from_pil, read, to_pil
from support.pngs import chunk, make_png

ORIENTATION = 0x0112


def turned_jpeg(path: Path, orientation: int) -> Path:
    """A JPEG of 24 x 16 stored pixels, bright at their left."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010F] = orientation, "maker"
    ramp = np.linspace(250, 5, 24).astype(np.uint8)[None, :, None].repeat(16, 0).repeat(3, 2)
    Image.fromarray(ramp).save(path, exif=exif, dpi=(100, 200), quality=100)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("loaded", [False, True])
def test_an_orientation_is_applied_once_as_for_the_file(tmp_path, orientation, loaded):
    path = turned_jpeg(tmp_path / "a.jpg", orientation)
    image = Image.open(path)
    if loaded:
        image.load()
    photo, expected = from_pil(image), read(path)
    np.testing.assert_array_equal(photo.pixels, expected.pixels)
    assert (photo.dpi, photo.exif, photo.format) == (expected.dpi, expected.exif, "JPEG")
    again = from_pil(to_pil(photo))
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    assert to_pil(photo).getexif().get(ORIENTATION, 1) == 1
    assert to_pil(photo).getexif()[0x010F] == "maker"


def test_an_orientation_that_was_applied_by_the_caller_is_not_applied_again(tmp_path):
    from PIL import ImageOps

    path = turned_jpeg(tmp_path / "a.jpg", 6)
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
    np.testing.assert_array_equal(from_pil(upright).pixels, read(path).pixels)


@pytest.mark.parametrize(("depth", "key"), [(1, 1), (2, 0), (2, 1), (2, 3), (4, 0), (4, 7), (4, 15), (8, 3)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_the_transparent_gray_of_a_png_with_few_bits(tmp_path, depth, key, interlaced):
    samples = np.arange(16).reshape(4, 4, 1) % 2**depth
    path = tmp_path / "a.png"
    extra = chunk(b"tRNS", key.to_bytes(2, "big"))
    path.write_bytes(make_png(samples, 0, depth, interlaced=interlaced, extra=extra))
    expected = np.where(samples[..., 0] == key, 0, 255)
    image = Image.open(io.BytesIO(path.read_bytes()))
    for photo in (read(path), from_pil(image), from_pil(image)):
        np.testing.assert_array_equal(photo.alpha, expected)
        np.testing.assert_array_equal(photo.pixels[..., 0], samples[..., 0] * (255 // (2**depth - 1)))
