"""What the page shows: the steps of the chain as pictures, and pictures of results."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from lpnsr.apps.jobs import JobOptions, Limits, Work
from lpnsr.apps.web import pictures
from lpnsr.apps.web.thoughts import think
from lpnsr.errors import ConfigError, InputError
from lpnsr.imaging import Photo, read, write
from support.jobs import picture
from support.tiny_model import tiny_upscaler

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("noise", ["predicted", "mode", "gaussian"])
def test_thoughts_are_those_of_the_chain(tmp_path: Path, noise: Any) -> None:
    (tmp_path / "in.png").write_bytes(picture((90, 130, 40), (40, 24)))
    up, seen = tiny_upscaler(), []
    up.spec = up.spec.model_copy(update={"inference": up.spec.inference.model_copy(update={"fidelity": 0.3})})
    options = JobOptions(noise=noise, seed=3, steps=3)  # the fidelity is the model's own
    work = Work("in.png", tmp_path / "in.png", tmp_path, options, Limits(), seen.append)
    with zipfile.ZipFile(think(up, work)) as file:
        steps = json.loads(file.read("facts.json"))["steps"]
        (tmp_path / "result.png").write_bytes(file.read("result.png"))
    assert [step["t"] for step in steps] == [3, 2, 1]
    assert [("noise" in step, "uncertainty" in step and "predicted" in step) for step in steps] == [
        *[(True, noise != "gaussian")] * 2,
        (False, False),
    ]
    usual = up(Image.open(tmp_path / "in.png"), noise=noise, seed=3, steps=3, colour_fix="none", tile=0)
    difference = np.abs(np.asarray(usual).astype(int) - np.asarray(Image.open(tmp_path / "result.png")))
    assert difference.max() <= 1
    assert len(seen) == 3 + 2


def test_thoughts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(picture(size=(200, 20)))
    work = Work("in.png", tmp_path / "in.png", tmp_path, JobOptions(), Limits(), lambda state: None)
    with pytest.raises(ConfigError, match="128 x 128"):
        think(tiny_upscaler(), work)


def test_pictures(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (30, 40, 3), dtype=np.uint16)
    write(Photo(pixels), tmp_path / "a.tif")
    pictures.shown(tmp_path / "a.tif", tmp_path / "same.png", max_pixels=10_000)
    assert (read(tmp_path / "same.png").pixels == pixels).all()
    pictures.shown(tmp_path / "a.tif", tmp_path / "small.png", max_pixels=10_000, most=300)
    assert read(tmp_path / "small.png").pixels.shape == (15, 20, 3)
    write(Photo(pixels[..., :1], pixels[..., 1]), tmp_path / "gray.png")
    pictures.shown(tmp_path / "gray.png", tmp_path / "large.png", max_pixels=10_000, size=(61, 80))
    large = read(tmp_path / "large.png")
    assert (large.pixels.shape, large.alpha is not None and large.alpha.shape) == ((61, 80, 1), (61, 80))
    pictures.cropped(tmp_path / "a.tif", tmp_path / "c.png", 16, 1.0, 0.5, max_pixels=10_000, name="a.tif")
    assert (read(tmp_path / "c.png").pixels == pixels[7:23, 24:]).all()
    write(Photo(pixels, pixels[..., 1], icc=PROFILE), tmp_path / "clear.png")
    pictures.cropped(tmp_path / "clear.png", tmp_path / "c.png", 16, 0.0, 0.0, max_pixels=10_000, name="clear.png")
    crop = read(tmp_path / "c.png")
    assert (crop.alpha == pixels[:16, :16, 1]).all()
    assert crop.icc == PROFILE
    with pytest.raises(InputError, match=r"^mine\.tif"):
        pictures.cropped(tmp_path / "no.tif", tmp_path / "c.png", 16, 0, 0, max_pixels=10_000, name="mine.tif")
