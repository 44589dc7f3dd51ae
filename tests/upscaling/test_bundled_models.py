"""The bundled models: their cost, what they must not do to an image, and how good they are."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from lpnsr import checkpoints, imaging
from lpnsr.checkpoints.folder import build_part
from lpnsr.checkpoints.spec import read_spec
from lpnsr.evaluation.files import read_unit
from lpnsr.evaluation.metrics import metrics_for
from lpnsr.networks import chain_flops
from lpnsr.upscaling.upscaler import Upscaler
from support.repository import REPOSITORY

MODELS = ["lite", pytest.param("base", marks=pytest.mark.slow)]


@cache
def bundled(name: str) -> Upscaler:
    return Upscaler.from_pretrained(name, device="cpu")


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Upscaler:
    return bundled(request.param)


def flops_per_pixel(name: str, steps: int) -> float:
    """FLOP of a model for an LR pixel."""
    folder = checkpoints.resolve(name)
    parts = {part: build_part(folder / place) for part, place in read_spec(folder).parts.items()}
    counted = chain_flops(parts, steps)
    assert counted is not None
    return counted


@pytest.mark.parametrize(("name", "chain", "megabytes"), [("lite", 12e6, 30), ("base", 12e6, 45)])
def test_a_model_fits_its_budget(name: str, chain: float, megabytes: int) -> None:
    """FLOP of the four-step chain for an LR pixel, without the pre-upsampler; and the size of the files."""
    assert 1e6 < flops_per_pixel(name, 4) - flops_per_pixel(name, 0) < chain
    assert flops_per_pixel(name, 1) < flops_per_pixel(name, 4)
    if name == "lite":
        assert 4e6 < flops_per_pixel(name, 0) < 9e6
        assert flops_per_pixel(name, 4) < 14e6
    assert sum(f.stat().st_size for f in checkpoints.resolve(name).rglob("*.safetensors")) < megabytes * 1e6


@pytest.mark.parametrize("name", ["base", "lite"])
def test_the_notice_of_the_start_goes_with_it(name: str) -> None:
    folder = checkpoints.resolve(name)
    assert "Copyright (c) 2021, Xintao Wang" in (folder / "LICENCE.Real-ESRGAN").read_text(encoding="utf-8")
    assert "BSD-3-Clause" in (folder / "README.md").read_text(encoding="utf-8")


def test_the_start_of_base_is_the_published_network() -> None:
    """On a degraded photograph too, where the network lives on the padding that it was trained with."""
    spandrel = pytest.importorskip("spandrel")
    folder = checkpoints.resolve("base")
    theirs = spandrel.ModelLoader().load_from_file(folder / "upsampler" / "model.safetensors").model.float()
    noise = np.random.default_rng(0).normal(0, 25, (64, 64, 3))
    lr = (photo(64) + noise).clip(0, 255).astype(np.uint8)
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(lr).permute(2, 0, 1)[None] / 255)[0].permute(1, 2, 0).numpy() * 255
    off = np.abs(bundled("base")(lr, steps=0, colour_fix="none").astype(float) - expected.clip(0, 255))
    assert off[32:-32, 32:-32].mean() < 2


def text(size: int) -> np.ndarray:
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    for line in range(0, size, 14):
        draw.text((3, line), "The quick brown fox jumps over the lazy dog 0123456789", fill="black")
    return np.asarray(image)


def gradient(size: int) -> np.ndarray:
    ramp = np.linspace(40, 210, size)
    return np.stack(
        [ramp[None] + 0 * ramp[:, None], ramp[:, None] + 0 * ramp[None], 0 * np.add.outer(ramp, ramp) + 90], 2
    )


def photo(size: int) -> np.ndarray:
    return np.asarray(Image.open(REPOSITORY / "examples" / "coast.jpg").convert("RGB"))[:size, :size]


SCENES = {
    "flat": lambda size: np.full((size, size, 3), (120, 60, 180), np.uint8),
    "gradient": lambda size: gradient(size).astype(np.uint8),
    "text": text,
    "photo": photo,
}


@pytest.mark.parametrize("scene", SCENES)
def test_no_seams(model: Upscaler, scene: str) -> None:
    """The gradient across tile borders is that of its surroundings.

    Near the edge of a tile RealESRGAN_x4plus puts a texture of about one level on flat areas, which no eye sees.
    """
    unseen = 1 if model.spec.name == "base" else 0
    lr = SCENES[scene](160)
    tiled = model(lr, tile=96).astype(float)
    whole = model(lr, tile=0).astype(float)
    axis = model.plan(160, 160, 96).columns
    steps = np.abs(np.diff(tiled, axis=1)).mean((0, 2))
    expected = np.abs(np.diff(whole, axis=1)).mean((0, 2))
    for index in range(1, len(axis.starts)):
        begin, end = (edge * 4 for edge in axis.seam(index))
        band = slice(begin - 4, end + 4)
        assert steps[band].mean() <= max(expected[band].mean() * 1.02 + 0.02, unseen)
        assert steps[band].max() <= max(expected[band].max() * 1.1 + 0.1, 2 * unseen)


def test_flat_areas_stay_flat(model: Upscaler) -> None:
    for colour in ((0, 0, 0), (255, 255, 255), (20, 25, 40), (120, 60, 180), (200, 180, 20)):
        off = np.abs(model(np.full((48, 48, 3), colour, np.uint8)).astype(float) - colour)
        assert off.mean() < 2.5
        assert off[32:-32, 32:-32].std((0, 1)).max() < 2.5
        assert off.max() < 15  # at the very corners; with zeros beyond the edge it was 35


def test_no_grid(model: Upscaler) -> None:
    """Averaged over a smooth image, the 16 places of a 4 x 4 cell are alike."""
    lr = gradient(96)
    out = model(lr.astype(np.uint8)).astype(float)
    ideal = imaging.resize(lr.astype(np.float32), (384, 384))
    residue = (out - ideal)[64:-64, 64:-64]
    places = residue.reshape(64, 4, 64, 4, 3).mean((0, 2))
    assert np.ptp(places, axis=(0, 1)).max() < 1.5


def test_colours_are_kept(model: Upscaler) -> None:
    lr = np.asarray(Image.open(REPOSITORY / "examples" / "coast.jpg").convert("RGB"))
    out = model(lr)
    assert np.abs(out.mean((0, 1)) - lr.mean((0, 1))).max() < 2


def test_fidelity_raises_psnr(model: Upscaler, val32: Path) -> None:
    (psnr,) = metrics_for(["psnr"])
    names = [path.name for path in sorted((val32 / "hr").iterdir())[::8]]
    scores = []
    for fidelity in (0.0, 0.75, 1.0):
        pairs = ((read_unit(val32 / kind / name) for kind in ("lr_real", "hr")) for name in names)
        crops = ((lr[:, 20:68, 20:68], hr[:, 80:272, 80:272]) for lr, hr in pairs)
        scores.append(np.mean([psnr(model(lr, fidelity=fidelity), hr) for lr, hr in crops]))
    assert scores[0] + 0.3 < scores[1] + 0.1 < scores[2] + 0.1, scores


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "lpips_at_most", "psnr_at_least"),
    [
        ("lite", "lr_real", 0.36, 23.51 - 1.5),
        ("lite", "lr_bicubic", 0.20, 26.82 - 1.5),
        ("base", "lr_real", 0.2274, 23.51 - 1.5),  # the LPIPS of RealESRGAN_x4plus, the start, alone
        ("base", "lr_bicubic", 0.143, 26.82 - 2.5),
    ],
)
def test_scores_on_the_validation_images(
    val32: Path, name: str, kind: str, lpips_at_most: float, psnr_at_least: float
) -> None:
    """Means over 32 images; PSNR is compared with that of bicubic interpolation."""
    model = bundled(name)
    lpips, psnr = metrics_for(["lpips", "psnr"])
    rows = []
    for path in sorted((val32 / "hr").iterdir()):
        hr = read_unit(path)
        sr = model(read_unit(val32 / kind / path.name))
        rows.append([lpips(sr, hr), psnr(sr, hr)])
    assert np.mean(rows, 0)[0] <= lpips_at_most
    assert np.mean(rows, 0)[1] >= psnr_at_least
