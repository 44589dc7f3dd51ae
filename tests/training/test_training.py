"""Training through the command: every stage, what it leaves, and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lpnsr.errors import CheckpointError
from lpnsr.training import runs
from lpnsr.training.data.pairs import validation_pairs
from lpnsr.training.data.pool import prepare_pool
from lpnsr.training.data.recipe import DataRecipe
from lpnsr.training.recipe import load_recipe
from lpnsr.upscaling.upscaler import Upscaler
from support.tiny_model import GUIDED
from support.training_run import (
    ORDER,
    RECIPE,
    STAGE,
    checkpoint,
    log_of,
    slow,
    train,
    written,
)


def test_all_stages_make_a_model(finished: Path) -> None:
    up = Upscaler.from_pretrained(finished / "model", device="cpu")
    assert up(np.zeros((8, 8, 3), np.uint8)).shape == (32, 32, 3)


def test_the_model_tells_what_it_was_trained_on(finished: Path) -> None:
    told = json.loads((finished / "model" / "model.json").read_text())
    manifest = json.loads((finished / "pool" / "manifest.json").read_text())
    crops = [image["crops"] for image in manifest["images"] if image.get("use") == "training"]
    begun = f"{sum(crops)} crops of {len(crops)} photographs; degradations: real 100%. Stages: autoencoder 6 steps in "
    assert told["training"].startswith(begun)
    assert all(f"{stage} 6 steps in " in told["training"] for stage in ORDER)
    assert told["licence"] == "unknown"


@pytest.mark.parametrize(
    ("photographs", "wanted", "held", "crops"),
    [(11, 8, 0, 0), (12, 8, 1, 8), (35, 8, 2, 8), (35, 1, 2, 2), (35, 0, 0, 0)],
)
def test_of_twelve_photographs_one_is_kept_for_scores(
    photographs: int, wanted: int, held: int, crops: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [tmp_path / f"{index}.png" for index in range(photographs)]
    for index, path in enumerate(images):
        Image.new("RGB", (64, 64), (index, 0, 0)).save(path)
    with caplog.at_level("INFO"):
        prepare_pool(images, DataRecipe(crop=64, pool=40, validation=wanted), 0, tmp_path / "pool", workers=1)
    assert len(validation_pairs(tmp_path / "pool")[0]) == crops
    assert f"40 crops of {photographs - held} photographs; {f'{held} more are' if held else 'none are'}" in caplog.text


@pytest.mark.parametrize("stage", ORDER)
def test_a_stage_leaves_logs_samples_and_weights(stage: str, finished: Path) -> None:
    folder = finished / stage
    assert [row["step"] for row in log_of(folder)] == [2, 4, 6]
    assert all(np.isfinite(list(row.values())).all() for row in log_of(folder))
    scores = [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]
    assert [row["step"] for row in scores] == [3, 6]
    images = {"autoencoder": 1, "upsampler": 1}.get(stage, 5)  # of the chain: the start and four steps
    with Image.open(folder / "samples" / "step-0000006.png") as grid:
        assert grid.size == (96 * (images + 2), 192)
    assert {half + name for half in ("", "degraded ", "clean ") for name in SCORES.get(stage, CHAIN)} <= set(scores[0])
    assert list((folder / "tensorboard").glob("events*"))
    kept = load_file(folder / "weights" / "step-0000006.safetensors")
    ema = checkpoint(folder)["ema"]
    assert all(torch.equal(kept[name], ema[name]) for name in ema)


CHAIN = ("psnr", "lpips", "start")
SCORES = {"autoencoder": CHAIN[:2], "upsampler": CHAIN[:2], "denoiser": ("error", "start", "t = 1", "t = 4")}


def test_the_losses_are_those_that_the_recipe_names(finished: Path) -> None:
    names = {stage: set().union(*map(set, log_of(finished / stage))) - {"step"} for stage in ORDER}
    image, gan = {"l1", "lpips"}, {"gan", "gan discriminator"}
    assert names["autoencoder"] == image | {"moments"}
    assert names["upsampler"] == image | gan | {"symmetry", "lattice", "excess", "statistics"}
    assert names["denoiser"] == {"mse"}
    assert names["noise-predictor"] == image | gan | {"latent-gan", "latent-gan discriminator"}
    assert names["joint"] == image | gan


def test_the_manifest_tells_every_file(finished: Path, photos: Path) -> None:
    images = json.loads((finished / "pool" / "manifest.json").read_text())["images"]
    by_name = {Path(image["file"]).name: image for image in images}
    assert len(by_name) == 13
    assert "too small" in by_name["too small.png"]["passed_over"]
    assert by_name["small and gray.png"].get("crops") or by_name["small and gray.png"]["use"] == "validation"
    assert [image["use"] for image in images if "use" in image].count("validation") <= 1
    assert all(len(image["sha256"]) == 64 for image in images)


def test_fine_tuning_begins_with_a_model(finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "pool").symlink_to(finished / "pool")
    slow = RECIPE | {"stages": {"denoiser": RECIPE["stages"]["denoiser"] | {"steps": 1, "learning_rate": 1e-9}}}
    path = written(slow, tmp_path)
    done = train("denoiser", path, photos, tmp_path, "--begin-with", str(finished / "model"))
    assert done.returncode == 0, done.stderr
    model = load_file(finished / "model" / "denoiser" / "model.safetensors")
    state = checkpoint(tmp_path / "denoiser")
    assert all(torch.allclose(state["trained"][f"denoiser.{name}"], model[name].float(), atol=1e-6) for name in model)
    config = json.loads((finished / "model" / "denoiser" / "config.json").read_text())
    assert state["networks"]["denoiser"]["variance"] == config["variance"]  # what the weights were trained with


def test_a_fine_tuned_model_tells_its_origin(finished: Path, recipe: Path, tmp_path: Path) -> None:
    for name in ("pool", *ORDER):
        (tmp_path / name).symlink_to(finished / name)
    words = [sys.executable, "-m", "lpnsr", "train", "export", "--recipe", str(recipe), "--out", str(tmp_path)]
    subprocess.run([*words, "--begin-with", "lite"], check=True)
    told = json.loads((tmp_path / "model" / "model.json").read_text())["training"]
    before = json.loads((finished / "model" / "model.json").read_text())["training"]
    assert told == f"{before} Begun with the weights of lite."


def test_a_stage_that_lacks_another_says_so_before_any_work(recipe: Path, photos: Path, tmp_path: Path) -> None:
    done = train("denoiser", recipe, photos, tmp_path / "run")
    assert "train the stage autoencoder first" in done.stderr
    assert "degrading" not in done.stderr


def test_a_model_to_begin_with_that_is_not_there(recipe: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nope"):
        runs.train("upsampler", runs.Run(tmp_path / "run", str(recipe), (photos,), begin_with="nope", device="cpu"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stages", [ORDER[:1], slow(ORDER)])
def test_dry_run_tells_the_cost(stages: tuple[str, ...], recipe: Path) -> None:
    named = "all" if stages == ORDER else stages[0]
    words = [sys.executable, "-m", "lpnsr", "train", named, "--recipe", str(recipe), "--dry-run", "--device", "cpu"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert all(stage in done.stdout for stage in stages)
    assert all(word in done.stdout for word in ("TFLOP", "iB", " min ", "24 crops, 0.7 MiB"))
    assert [line for line in done.stderr.splitlines() if "measuring" in line] == [f"measuring {s}" for s in stages]
    words[4] = "export"
    refused = subprocess.run(words, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "export trains nothing" in refused.stderr


def test_a_dry_run_says_what_is_missing_and_leaves_on_ctrl_c(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "lpnsr", "train", "all", "--dry-run", "--device", "cpu", "--recipe"]
    heads = {"lpips": {"net": "vgg", "trunk": "nope.pth", "heads": "nope.pth"}}
    done = subprocess.run([*words, str(written(RECIPE | heads, tmp_path))], capture_output=True, text=True, check=False)
    assert (done.returncode, "nope.pth is no file" in done.stderr) == (1, True)
    words[4] = "joint"
    process = subprocess.Popen([*words, "base"], stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr
    assert process.stderr.readline() == "measuring joint\n"
    time.sleep(3)
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told.strip()) == (130, "interrupted")
    assert time.monotonic() - begun < 10  # and not the minutes that a step of it takes


@pytest.mark.parametrize(
    ("stage", "change", "options", "words"),
    [
        ("denoiser", {}, [], "train the stage autoencoder first"),
        ("upsampler", {"stages": {"upsampler": STAGE | {"learning_rate": 1e30, "steps": 99}}}, [], "non-finite"),
        ("autoencoder", {"stages": {"upsampler": STAGE}}, [], "no stage 'autoencoder'"),
        ("upsampler", {}, ["--device", "cuda:9"], "CUDA_VISIBLE_DEVICES"),
        ("upsampler", {}, ["--device", "npu9"], "choose auto, cuda, xpu, mps or cpu"),
        ("upsampler", {}, ["--precision", "fp16"], "fp16 needs a CUDA GPU"),
        ("upsampler", {}, ["--out", __file__], "is a file: give a folder"),
        ("upsampler", {}, ["--begin-with", "nothing"], "no model"),
        ("upsampler", {}, ["--begin-with", "lite"], "does not fit"),
        ("upsampler", {"lpips": {"net": "vgg"}}, [], "two files"),
        ("upsampler", {"data": {"crop": 96, "pool": 12}}, [], "another --out, or delete"),
    ],
    ids=[
        "forerunner",
        "diverges",
        "no stage",
        "one of several devices",
        "device",
        "precision",
        "file",
        "model",
        "other model",
        "vgg",
        "other pool",
    ],
)
def test_what_cannot_go_on_says_why(
    stage: str,
    change: dict[str, Any],
    options: list[str],
    words: str,
    finished: Path,
    photos: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "pool").symlink_to(finished / "pool")
    done = train(stage, written(RECIPE | change, tmp_path), photos, tmp_path, *options)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_folders_without_photographs(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no photographs" in train("upsampler", recipe, tmp_path / "empty", tmp_path / "run").stderr
    assert "no such folder" in train("upsampler", recipe, tmp_path / "nowhere", tmp_path / "run").stderr
    assert "it is a file" in train("upsampler", recipe, recipe, tmp_path / "run").stderr
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"")
    done = train("upsampler", recipe, tmp_path / "bad", tmp_path / "run")
    assert "none of the 1 photographs can be used" in done.stderr
    assert not (tmp_path / "run" / "pool" / "manifest.json").exists()


@pytest.mark.parametrize("option", ["--dry-run", "--device=cpu"])
@pytest.mark.parametrize("module", ["accelerate", "tensorboard"])
def test_without_the_extra_its_name_is_told(module: str, option: str, photos: Path, tmp_path: Path) -> None:
    words = ["lpnsr", "train", "all", "--data", str(photos), "-o", str(tmp_path), option]
    code = f"import sys; sys.modules[{module!r}] = None; sys.argv = {words}; from lpnsr.apps.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'lpnsr[train]'" in done.stderr
    assert "bug" not in done.stderr


def test_networks_that_do_not_fit_are_told_before_anything_is_made(photos: Path, tmp_path: Path) -> None:
    wide = GUIDED | {"autoencoder": GUIDED["autoencoder"] | {"latent_channels": 8}}
    with pytest.raises(CheckpointError, match="the denoiser works on 4 channels, and the autoencoder's latent has 8"):
        runs.train("all", runs.Run(tmp_path / "run", str(written(RECIPE | {"networks": wide}, tmp_path)), (photos,)))
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc")
def test_a_photograph_that_cannot_be_read_is_passed_over(recipe: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "unreadable.png").symlink_to("/proc/self/mem")
    images = [photos / "0.png", tmp_path / "unreadable.png"]
    prepare_pool(images, load_recipe(str(recipe)).data, 0, tmp_path / "pool", 1)
    entries = json.loads((tmp_path / "pool" / "manifest.json").read_text())["images"]
    assert ["passed_over" in entry for entry in entries] == [False, True]
