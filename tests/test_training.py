"""Training: LPIPS against its published values, recipes, and every stage from start to a resumed end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lpnsr import networks
from lpnsr.errors import ConfigError
from lpnsr.networks.discriminator import FeatureDiscriminator, PatchDiscriminator, SpectralNorm, UNetDiscriminator
from lpnsr.pipeline import Upscaler
from lpnsr.training.losses import View, hinge_discriminator, hinge_generator, lattice, spectrum
from lpnsr.training.lpips import LPIPS, TAP_CHANNELS
from lpnsr.training.recipe import STAGES, load_recipe
from tiny_model import CHAIN, NETWORKS


def test_lpips_matches_the_published_example() -> None:
    generator = torch.Generator().manual_seed(42)
    a, b = (torch.rand(2, 3, 100, 100, generator=generator) * 2 - 1 for _ in range(2))
    torch.testing.assert_close(LPIPS()(a, b), torch.tensor([0.1024, 0.0938]), atol=1e-4, rtol=0)


def test_hinge_losses_are_smallest_where_they_should_be() -> None:
    high, low = [torch.full((1, 1, 4, 4), 2.0)], [torch.full((1, 1, 4, 4), -2.0)]
    assert float(hinge_discriminator(high, low)) == 0
    assert float(hinge_discriminator(low, high)) == 6
    assert hinge_generator(high) < hinge_generator(low)


def test_a_view_is_the_same_for_both_images_and_differs_between_draws() -> None:
    image = torch.rand(1, 3, 128, 128)
    torch.manual_seed(0)
    views = [View() for _ in range(6)]
    assert all(torch.equal(view(image), view(image.clone())) for view in views)
    assert len({(tuple(v(image).shape), float(v(image)[0, 0, 0, 0])) for v in views}) > 3
    assert all(side % 16 == 0 for v in views for side in v(image).shape[-2:])


def test_spectral_norm_divides_by_the_largest_singular_value() -> None:
    weight = torch.randn(8, 4, 3, 3)
    norm = SpectralNorm(weight).train()
    for _ in range(50):
        normalised = norm(weight)
    assert float(torch.linalg.matrix_norm(normalised.flatten(1), 2)) == pytest.approx(1, abs=1e-3)


def test_discriminators_judge_places() -> None:
    image = torch.rand(2, 3, 64, 48)
    assert UNetDiscriminator(8)(image)[0].shape == (2, 1, 32, 24)
    assert PatchDiscriminator(8)(image)[0].shape[:2] == (2, 1)
    logits = FeatureDiscriminator(TAP_CHANNELS[:2], 8)(image, LPIPS().taps(image)[:2])
    assert [m.shape[1] for m in logits] == [1, 1, 1]


def test_the_lite_recipe_builds_and_keeps_its_promises() -> None:
    recipe = load_recipe("lite")
    parts = [networks.build(config) for config in recipe.networks.values()]
    assert sum(p.numel() for part in parts for p in part.parameters()) * 2 < 30e6  # half precision, bytes


@pytest.mark.parametrize(
    ("change", "words"),
    [({"sedd": 1}, "seed"), ({"data": {"cropp": 1}}, "crop"), ({"stages": {"upsampler": {"step": 1}}}, "steps")],
)
def test_a_typo_in_a_recipe_is_named(change: dict[str, object], words: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({"networks": {}, "chain": {}, "stages": {}} | change))
    with pytest.raises(ConfigError, match=words):
        load_recipe(str(path))


@pytest.mark.parametrize("name", ["nothing", "missing.yaml"])
def test_a_recipe_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load_recipe(name)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(2):
        Image.fromarray(rng.integers(0, 256, (80, 90, 3), dtype=np.uint8)).resize((180, 160)).save(
            folder / f"{index}.png"
        )
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    stage = {"steps": 4, "batch": 2, "patch": 128, "warmup": 1}
    gan = {"channels": 8, "start": 1}
    stages = {
        "autoencoder": stage,
        "upsampler": stage | {"gan": gan},
        "denoiser": stage | {"latent": 1.0, "gan": gan | {"begin_with": "upsampler"}},
        "noise-predictor": stage | {"start_from": {"bicubic": 1.0, "upsampler": 1.0}},
    }
    data = {"crop": 128, "pool": 6}
    path.write_text(yaml.safe_dump({"networks": NETWORKS, "chain": CHAIN, "data": data, "stages": stages}))
    return path


def train(stage: str, recipe: Path, photos: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lpnsr.training", stage, "--recipe", str(recipe), "--out", str(out)]
    command += ["--data", str(photos), "--device", "cpu", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_all_stages_train_resume_and_export(recipe_file: Path, photos: Path, tmp_path: Path) -> None:
    for stage in STAGES:
        done = train(stage, recipe_file, photos, tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / stage / "checkpoint.pt").exists()
    assert train("export", recipe_file, photos, tmp_path).returncode == 0
    up = Upscaler.from_pretrained(tmp_path / "model", device="cpu")
    assert up(np.zeros((8, 8, 3), np.uint8)).shape == (32, 32, 3)


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_weights(recipe_file: Path, photos: Path, tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert train("upsampler", recipe_file, photos, whole).returncode == 0
    recipe = yaml.safe_load(recipe_file.read_text())
    # The cosine of the first half has to be that of the whole run: the clock ends it, not another recipe.
    assert train("upsampler", recipe_file, photos, parted, "--minutes", "0.0001").returncode == 0
    first = torch.load(parted / "upsampler" / "checkpoint.pt", weights_only=True)["step"]
    assert first < recipe["stages"]["upsampler"]["steps"]
    assert train("upsampler", recipe_file, photos, parted).returncode == 0
    a, b = (torch.load(f / "upsampler" / "checkpoint.pt", weights_only=True)["ema"] for f in (whole, parted))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_a_stage_without_its_forerunners_says_so(recipe_file: Path, photos: Path, tmp_path: Path) -> None:
    done = train("denoiser", recipe_file, photos, tmp_path)
    assert done.returncode != 0
    assert "autoencoder" in done.stderr


def test_lattice_sees_a_grid_and_not_a_detail() -> None:
    torch.manual_seed(0)
    hr = torch.rand(2, 3, 128, 128)
    rows = torch.tensor([0.02, 0.02, -0.02, -0.02]).repeat(32)
    grid = torch.zeros_like(hr) + rows[:, None]
    detail = torch.randn_like(hr) * grid.std()
    assert lattice(hr, hr, 4) == 0
    assert lattice(hr + grid, hr, 4) > 3 * lattice(hr + detail, hr, 4)
    assert lattice(hr + grid, hr, 8) > 3 * lattice(hr + detail, hr, 8)


def test_spectrum_sees_missing_detail_and_not_its_place() -> None:
    torch.manual_seed(0)
    hr = torch.rand(2, 3, 128, 128)
    assert spectrum(hr, hr) == 0
    assert spectrum(torch.rand_like(hr), hr) < 0.3 * spectrum(hr * 0.3, hr)
