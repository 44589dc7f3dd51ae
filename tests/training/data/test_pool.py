"""The pool of a training: what it was made of, and that nothing else is taken for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from lpnsr.degradation import PRESETS
from lpnsr.errors import TrainingError
from lpnsr.training.data import pool as making
from lpnsr.training.data.pairs import PairPool
from lpnsr.training.data.recipe import DataRecipe

RECIPE = DataRecipe(crop=64, pool=3, validation=0, degradations={"real": 1.0, "classic": 1.0})


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(2)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).resize((90, 80)).save(path)
    return paths


@pytest.fixture
def pool(photos: list[Path], tmp_path: Path) -> Path:
    making.prepare_pool(photos, RECIPE, 0, tmp_path / "pool", workers=1)
    return tmp_path / "pool"


def test_a_whole_pool_is_used_again(pool: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def untouched(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(making, "_Making", untouched)
    making.prepare_pool(photos, RECIPE, 0, pool, workers=1)


def test_the_same_pool_comes_out_again(pool: Path, photos: list[Path], tmp_path: Path) -> None:
    making.prepare_pool(photos, RECIPE, 0, tmp_path / "again", workers=2)
    for name in ("hr.npy", "lr.npy", "kind.npy"):
        assert (pool / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_pool_of_another_drawing_order_is_refused(
    pool: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "DRAWING_ORDER", making.DRAWING_ORDER + 1)
    with pytest.raises(TrainingError, match="another version of the degradation"):
        making.prepare_pool(photos, RECIPE, 0, pool, workers=1)


def test_a_pool_of_before_drawing_orders_were_told_is_refused(pool: Path, photos: list[Path]) -> None:
    manifest = json.loads((pool / "manifest.json").read_text())
    del manifest["made_of"]["drawing_order"], manifest["made_of"]["degradations"]
    (pool / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TrainingError, match="another version of the degradation"):
        making.prepare_pool(photos, RECIPE, 0, pool, workers=1)


def test_a_pool_of_another_preset_under_the_same_name_is_refused(
    pool: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "real", PRESETS["light"])
    with pytest.raises(TrainingError, match="another --out"):
        making.prepare_pool(photos, RECIPE, 0, pool, workers=1)


def test_a_pool_without_its_manifest_is_made_anew(pool: Path, photos: list[Path]) -> None:
    """As a kill leaves it: the manifest comes last."""
    whole = (pool / "lr.npy").read_bytes()
    (pool / "manifest.json").unlink()
    (pool / "lr.npy").write_bytes(b"half")
    making.prepare_pool(photos, RECIPE, 0, pool, workers=1)
    assert (pool / "lr.npy").read_bytes() == whole
    lr = PairPool(pool).lr
    assert lr.shape == (3, 16, 16, 3)
    assert lr.dtype == torch.uint8


def test_the_most_detailed_candidate_is_taken(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo = np.full((256, 1024, 3), 128, np.uint8)
    photo[:, 896:] = rng.integers(0, 256, (256, 128, 3))
    Image.fromarray(photo).save(tmp_path / "mostly_flat.png")
    shares = {}
    for candidates in (1, 20):
        recipe = RECIPE.model_copy(update={"pool": 40, "candidates": candidates})
        making.prepare_pool([tmp_path / "mostly_flat.png"], recipe, 0, tmp_path / str(candidates), workers=1)
        hr = np.load(tmp_path / str(candidates) / "hr.npy")
        shares[candidates] = float((hr.std((1, 2, 3)) > 5).mean())
    assert shares[1] < 0.4
    assert shares[20] > 0.8


def test_crops_are_cut_at_a_random_reduction(tmp_path: Path) -> None:
    """Of a ramp over the whole width, a reduced crop covers more."""
    ramp = np.broadcast_to(np.linspace(0, 255, 512)[None, :, None], (512, 512, 3))
    Image.fromarray(ramp.round().astype(np.uint8)).save(tmp_path / "ramp.png")
    recipe = RECIPE.model_copy(update={"pool": 60, "candidates": 1, "reduction": (0.25, 0.5)})
    making.prepare_pool([tmp_path / "ramp.png"], recipe, 0, tmp_path / "pool", workers=1)
    hr = np.load(tmp_path / "pool" / "hr.npy").mean(-1)
    covered = abs(hr[:, -1, -1] - hr[:, 0, 0]) / (255 / 511) / 63  # photograph pixels a pixel
    assert 2.0 - 0.05 < covered.min() < 2.2
    assert 3.6 < covered.max() < 4.0 + 0.05


@pytest.mark.parametrize("side", [64, 70, 90])
def test_a_photograph_that_is_small_at_its_reduction_is_reduced_less(side: int, tmp_path: Path) -> None:
    """And not to one crop of all of it, again and again."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "low.png")
    recipe = RECIPE.model_copy(update={"pool": 20, "reduction": (0.1, 1.0)})
    making.prepare_pool([tmp_path / "low.png"], recipe, 0, tmp_path / "pool", workers=1)
    hr = np.load(tmp_path / "pool" / "hr.npy")
    assert hr.std() > 40  # at a tenth, noise would be averaged away
    assert len({crop.tobytes() for crop in hr}) >= {64: 1, 70: 12, 90: 18}[side]


def test_a_reduction_names_the_smaller_share_first() -> None:
    with pytest.raises(ValidationError, match="the smaller share comes first"):
        DataRecipe(reduction=(1.0, 0.5))
