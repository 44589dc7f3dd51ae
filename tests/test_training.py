"""Training through the command: every stage, going on after a kill, several processes, and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from lpnsr import networks
from lpnsr.errors import CheckpointError, ConfigError, TrainingError
from lpnsr.pipeline import Upscaler
from lpnsr.training import runs
from lpnsr.training.data import prepare_pool, validation_pairs
from lpnsr.training.loop import Budget
from lpnsr.training.recipe import STAGES, DataRecipe, load_recipe
from tiny_model import CHAIN, NETWORKS

BATCH = 4
STAGE = {"steps": 6, "batch": BATCH, "patch": 128, "warmup": 1}
GAN = {"channels": 8, "start": 1}
RECIPE: dict[str, Any] = {
    "networks": NETWORKS,
    "chain": CHAIN,
    "data": {"crop": 128, "pool": 24, "validation": 1},
    "stages": {
        "autoencoder": STAGE,
        "upsampler": STAGE | {"gan": GAN | {"kind": "unet"}, "symmetry": 1.0, "lattice": 1.0, "excess": 1.0},
        "denoiser": STAGE | {"latent": 1.0, "image_loss_below": 2, "rollout": 0.4, "gan": GAN, "symmetry": 1.0},
        "noise-predictor": STAGE
        | {"regression": 2, "checkpointing": True, "start_from": {"bicubic": 1.0, "upsampler": 1.0}}
        | {"gan": GAN | {"kind": "patch", "on": "latent", "adaptive": True, "alternate": True}},
    },
}
TIMINGS = ("seconds", "images_per_second", "waiting_for_data")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(10):
        noise = Image.fromarray(rng.integers(0, 256, (40, 45, 3), dtype=np.uint8))
        noise.resize((180, 160), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    (folder / "sub").mkdir()
    Image.new("L", (100, 70), 120).save(folder / "sub" / "small and gray.png")
    Image.new("RGB", (30, 200)).save(folder / "too small.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(RECIPE, tmp_path_factory.mktemp("recipe"))


def written(values: dict[str, Any], folder: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def command(stage: str, recipe: Path, photos: Path, out: Path, *options: str) -> list[str]:
    words = ["-m", "lpnsr.training", stage, "--recipe", str(recipe), "--out", str(out), "--data", str(photos)]
    return [*words, "--device", "cpu", "--log-every", "2", "--validate-every", "3", *options]


def train(stage: str, recipe: Path, photos: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, *command(stage, recipe, photos, out, *options)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def log_of(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in rows]


def modified(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


@pytest.fixture(scope="module")
def finished(recipe: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all four stages."""
    out = tmp_path_factory.mktemp("run")
    done = train("all", recipe, photos, out)
    assert done.returncode == 0, done.stderr
    assert "broken.jpg" in done.stderr
    assert "too small.png: passed over, 30 x 200 px" in done.stderr
    return out


def test_all_stages_make_a_model(finished: Path) -> None:
    up = Upscaler.from_pretrained(finished / "model", device="cpu")
    assert up(np.zeros((8, 8, 3), np.uint8)).shape == (32, 32, 3)


def test_the_model_tells_what_it_was_trained_on(finished: Path) -> None:
    told = json.loads((finished / "model" / "model.json").read_text())
    manifest = json.loads((finished / "pool" / "manifest.json").read_text())
    crops = [image["crops"] for image in manifest["images"] if image.get("use") == "training"]
    assert told["training"] == f"{sum(crops)} crops of {len(crops)} photographs; degradations: real 100%."
    assert told["licence"] == "unknown"


def test_no_recipe_speaks_of_photographs_and_licences_that_are_not_the_users() -> None:
    for name in ("lite", "lite-gpu", "paper"):
        assert load_recipe(name).model.training == ""
        assert load_recipe(name).model.licence == "unknown"


@pytest.mark.parametrize(("photographs", "wanted", "held"), [(9, 8, 0), (10, 8, 1), (35, 8, 3), (35, 2, 2), (35, 0, 0)])
def test_of_ten_photographs_one_is_kept_for_scores(
    photographs: int, wanted: int, held: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [tmp_path / f"{index}.png" for index in range(photographs)]
    for index, path in enumerate(images):
        Image.new("RGB", (64, 64), (index, 0, 0)).save(path)
    with caplog.at_level("INFO"):
        prepare_pool(images, DataRecipe(crop=64, pool=40, validation=wanted), 0, tmp_path / "pool", workers=1)
    assert len(validation_pairs(tmp_path / "pool")[0]) == held
    assert f"40 crops of {photographs - held} photographs; {f'{held} more are' if held else 'none are'}" in caplog.text


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_leaves_logs_samples_and_weights(stage: str, finished: Path) -> None:
    folder = finished / stage
    assert [row["step"] for row in log_of(folder)] == [2, 4, 6]
    assert all(np.isfinite(list(row.values())).all() for row in log_of(folder))
    scores = [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]
    assert [row["step"] for row in scores] == [3, 6]
    images = {"autoencoder": 1, "upsampler": 1}.get(stage, 5)  # of the chain: the start and four steps
    with Image.open(folder / "samples" / "step-0000006.png") as grid:
        assert grid.size == (128 * (images + 2), 128)
    assert list((folder / "tensorboard").glob("events*"))
    kept = load_file(folder / "weights" / "step-0000006.safetensors")
    ema = checkpoint(folder)["ema"]
    assert all(torch.equal(kept[name], ema[name]) for name in ema)


def test_the_losses_are_those_that_the_recipe_names(finished: Path) -> None:
    names = {stage: set().union(*map(set, log_of(finished / stage))) - {"step"} for stage in STAGES}
    image = {"pixel", "lpips"}
    assert names["autoencoder"] == image | {"moments"}
    assert names["upsampler"] == image | {"symmetry", "lattice", "excess", "gan", "discriminator"}
    assert names["denoiser"] == image | {"latent", "symmetry", "gan", "discriminator"}
    assert names["noise-predictor"] == image | {"regression", "gan", "discriminator"}


def test_the_manifest_tells_every_file(finished: Path, photos: Path) -> None:
    images = json.loads((finished / "pool" / "manifest.json").read_text())["images"]
    by_name = {Path(image["file"]).name: image for image in images}
    assert len(by_name) == 13
    assert "too small" in by_name["too small.png"]["passed_over"]
    assert by_name["small and gray.png"].get("crops") or by_name["small and gray.png"]["use"] == "validation"
    assert [image["use"] for image in images if "use" in image].count("validation") <= 1
    assert all(len(image["sha256"]) == 64 for image in images)


def test_a_finished_run_is_left_alone(finished: Path, recipe: Path, photos: Path) -> None:
    before = (finished / "upsampler" / "checkpoint.pt").stat().st_mtime_ns
    done = train("upsampler", recipe, photos, finished)
    assert done.returncode == 0
    assert "are done" in done.stderr
    assert "changed recipe" not in done.stderr
    assert (finished / "upsampler" / "checkpoint.pt").stat().st_mtime_ns == before


@pytest.mark.parametrize("stage", ["upsampler", "denoiser", "noise-predictor"])
def test_killed_and_resumed_is_the_same_run(
    stage: str, finished: Path, recipe: Path, photos: Path, tmp_path: Path
) -> None:
    """SIGKILL after each checkpoint but the last: same losses, same weights, bit for bit."""
    for name in ("pool", *STAGES[: STAGES.index(stage)]):
        (tmp_path / name).symlink_to(finished / name)
    folder, kills = tmp_path / stage, 0
    while True:
        saved = modified(folder / "checkpoint.pt")
        words = [sys.executable, *command(stage, recipe, photos, tmp_path, "--save-every", "1")]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            if kills < 2 and modified(folder / "checkpoint.pt") > saved:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        if process.wait() == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
    assert kills >= 1
    assert log_of(folder) == log_of(finished / stage)
    for part in ("trained", "ema"):
        whole, parted = checkpoint(finished / stage)[part], checkpoint(folder)[part]
        assert all(torch.equal(whole[name], parted[name]) for name in whole)


def test_the_clock_ends_a_call_and_the_next_goes_on(finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "pool").symlink_to(finished / "pool")
    assert train("autoencoder", recipe, photos, tmp_path, "--minutes", "0.00001").returncode == 0
    assert checkpoint(tmp_path / "autoencoder")["step"] < 6
    assert train("autoencoder", recipe, photos, tmp_path).returncode == 0
    whole, parted = checkpoint(finished / "autoencoder")["ema"], checkpoint(tmp_path / "autoencoder")["ema"]
    assert all(torch.equal(whole[name], parted[name]) for name in whole)


@pytest.mark.parametrize("stage", ["autoencoder", "denoiser", "noise-predictor"])
def test_two_processes_train_as_one(stage: str, finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    for name in ("pool", *STAGES[: STAGES.index(stage)]):
        (tmp_path / name).symlink_to(finished / name)
    port = str(20000 + os.getpid() % 9999)
    # With --cpu it would start one process; of --multi_gpu, --device cpu leaves the two.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", port]
    done = subprocess.run(
        [*launch, *command(stage, recipe, photos, tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "shared by 2 processes" in done.stderr
    for one, two in zip(log_of(finished / stage), log_of(tmp_path / stage), strict=True):
        assert two == pytest.approx(one, rel=2e-4, abs=1e-5)
    one, two = (checkpoint(folder / stage)["ema"] for folder in (finished, tmp_path))
    apart = torch.cat([(two[name] - one[name]).abs().flatten() for name in one])
    assert apart.quantile(0.999) < 1e-4
    assert apart.max() < 1e-3  # Adam takes whole steps along gradients that are all rounding error


def test_fine_tuning_begins_with_a_model(finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "pool").symlink_to(finished / "pool")
    slow = RECIPE | {"stages": {"denoiser": STAGE | {"latent": 1.0, "steps": 1, "learning_rate": 1e-9}}}
    path = written(slow, tmp_path)
    done = train("denoiser", path, photos, tmp_path, "--begin-with", str(finished / "model"))
    assert done.returncode == 0, done.stderr
    model = load_file(finished / "model" / "denoiser" / "model.safetensors")
    tuned = checkpoint(tmp_path / "denoiser")["trained"]
    assert all(torch.allclose(tuned[name], model[name].float(), atol=1e-6) for name in model)


def test_a_fresh_stage_may_be_of_another_size(finished: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "pool").symlink_to(finished / "pool")
    other = {"networks": NETWORKS | {"denoiser": NETWORKS["denoiser"] | {"carry": True}}}
    fresh = {"stages": {"denoiser": STAGE | {"latent": 1.0, "steps": 1, "learning_rate": 1e-9, "fresh": True}}}
    path = written(RECIPE | other | fresh, tmp_path)
    done = train("denoiser", path, photos, tmp_path, "--begin-with", str(finished / "model"))
    assert done.returncode == 0, done.stderr
    assert checkpoint(tmp_path / "denoiser")["trained"]["out.2.weight"].abs().max() < 1e-6, "it begins untrained"


def test_a_fine_tuned_model_tells_its_origin(finished: Path, recipe: Path, tmp_path: Path) -> None:
    for name in ("pool", *STAGES):
        (tmp_path / name).symlink_to(finished / name)
    words = [sys.executable, "-m", "lpnsr.training", "export", "--recipe", str(recipe), "--out", str(tmp_path)]
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


def test_dry_run_tells_the_cost(recipe: Path) -> None:
    words = [sys.executable, "-m", "lpnsr.training", "all", "--recipe", str(recipe), "--dry-run", "--device", "cpu"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert all(stage in done.stdout for stage in STAGES)
    assert all(word in done.stdout for word in ("TFLOP", "GiB", "hours"))


@pytest.mark.parametrize(
    ("stage", "change", "options", "words"),
    [
        ("denoiser", {}, [], "train the stage autoencoder first"),
        ("upsampler", {"stages": {"upsampler": STAGE | {"learning_rate": 1e30, "steps": 99}}}, [], "non-finite"),
        ("autoencoder", {"stages": {"upsampler": STAGE}}, [], "no stage 'autoencoder'"),
        ("upsampler", {}, ["--device", "cuda:9"], "auto, cpu"),
        ("upsampler", {}, ["--begin-with", "nothing"], "no model"),
        ("upsampler", {}, ["--begin-with", "lite"], "does not fit"),
        ("upsampler", {"lpips": {"net": "vgg"}}, [], "two files"),
        ("upsampler", {"data": {"crop": 128, "pool": 12}}, [], "another --out, or delete"),
    ],
    ids=["forerunner", "diverges", "no stage", "device", "model", "other model", "vgg", "other pool"],
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_keeps_the_checkpoint(finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "pool").symlink_to(finished / "pool")
    assert train("upsampler", recipe, photos, tmp_path, "--minutes", "0.00001").returncode == 0
    before = (tmp_path / "upsampler" / "checkpoint.pt").read_bytes()
    (tmp_path / "upsampler" / "checkpoint.part").symlink_to("/dev/full")
    done = train("upsampler", recipe, photos, tmp_path)
    assert done.returncode == 1
    assert "checkpoint.pt cannot be written" in done.stderr
    assert (tmp_path / "upsampler" / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("option", ["--dry-run", "--device=cpu"])
@pytest.mark.parametrize("module", ["accelerate", "tensorboard"])
def test_without_the_extra_its_name_is_told(module: str, option: str, photos: Path, tmp_path: Path) -> None:
    words = ["lpnsr", "train", "all", "--data", str(photos), "-o", str(tmp_path), option]
    code = f"import sys; sys.modules[{module!r}] = None; sys.argv = {words}; from lpnsr.apps.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'lpnsr[train]'" in done.stderr
    assert "bug" not in done.stderr


def test_the_bundled_recipes_build() -> None:
    lite = [networks.build(config) for config in load_recipe("lite").networks.values()]
    assert sum(p.numel() for part in lite for p in part.parameters()) * 2 < 30e6  # half precision, bytes
    bundled = {name: load_recipe(name) for name in ("lite", "lite-gpu", "paper")}
    for part, config in bundled["lite-gpu"].networks.items():  # --begin-with lite
        networks.build(config)
        assert config == bundled["lite"].networks[part] or bundled["lite-gpu"].stages[part].fresh  # type: ignore[index]
    paper = bundled["paper"]
    assert set(paper.stages) == set(STAGES)
    for name in ("denoiser", "noise_predictor", "autoencoder"):
        with torch.device("meta"):
            networks.build(paper.networks[name])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sedd": 1}, "seed"),
        ({"data": {"cropp": 1}}, "crop"),
        ({"data": {"degradations": {"reel": 1}}}, "real, light, classic"),
        ({"data": {"degradations": {"mine": 1}, "presets": {"mine": {"scale": 2}}}}, "mine.scale = 2, and models"),
        ({"stages": {"upsampler": {"step": 1}}}, "steps"),
        ({"stages": {"upsampler": STAGE | {"patch": 512}}}, "data.crop = 256"),
        ({"seed": -1}, "seed = -1; allowed: a whole number from 0"),
        ({"chain": {"stepz": 4}}, "'chain.stepz'; did you mean 'steps'"),
        ({"model": {"inference": {"tile_overlp": 1}}}, "did you mean 'tile_overlap'"),
        ({"networks": {"upscaler": {}}}, "'networks.upscaler'; allowed: autoencoder, upsampler"),
        ({"stages": {"upsampler": STAGE}}, "networks has no upsampler, which the stage upsampler needs"),
        ({"stages": {"upsampler": STAGE | {"betas": [0.9, 1.0]}}}, "betas.1 = 1.0; allowed: a number from 0 below 1"),
        ({"stages": {"denoiser": STAGE | {"start_from": {"bicubic": 0}}}}, "start_from needs odds above 0"),
        ({"networks": NETWORKS, "stages": {"upsampler": STAGE | {"gan": {"on": "latent"}}}}, "needs kind: patch"),
        (
            {
                "networks": NETWORKS,
                "stages": {
                    "upsampler": STAGE | {"gan": GAN},
                    "denoiser": STAGE | {"gan": {"channels": 9, "begin_with": "upsampler"}},
                },
            },
            "its channels has to be 8 too",
        ),
    ],
)
def test_a_typo_in_a_recipe_is_named(change: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        load_recipe(str(written({"networks": {}, "chain": {}, "stages": {}} | change, tmp_path)))


def test_networks_that_do_not_fit_are_told_before_anything_is_made(photos: Path, tmp_path: Path) -> None:
    wide = NETWORKS | {"autoencoder": NETWORKS["autoencoder"] | {"latent_channels": 8}}
    with pytest.raises(CheckpointError, match="the denoiser has in_channels 4, and the autoencoder's latent has 8"):
        runs.train("all", runs.Run(tmp_path / "run", str(written(RECIPE | {"networks": wide}, tmp_path)), (photos,)))
    assert not (tmp_path / "run").exists()


def copied(finished: Path, out: Path, *names: str) -> Path:
    for name in names:
        shutil.copytree(finished / name, out / name)
    return out


def test_a_stage_of_another_recipe_is_not_gone_on_with(finished: Path, photos: Path, tmp_path: Path) -> None:
    out = copied(finished, tmp_path, "pool", "upsampler")
    other = STAGE | {"steps": 7, "gan": {"kind": "patch", "channels": 8}}
    recipe = written(RECIPE | {"stages": {"upsampler": other}}, tmp_path)
    with pytest.raises(TrainingError, match=r"checkpoint\.pt was made by another recipe"):
        runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu"))


def test_a_changed_recipe_is_told(
    finished: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = copied(finished, tmp_path, "pool", "upsampler")
    recipe = written(RECIPE | {"stages": {"upsampler": STAGE | {"learning_rate": 0.5}}}, tmp_path)
    runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu"))
    assert re.search(
        r"upsampler, at step \d+, goes on by a changed recipe: .*learning_rate was .* and is 0.5", caplog.text
    )


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("pool/manifest.json", "manifest.json is damaged .* delete"),
        ("pool/hr.npy", "hr.npy is missing or damaged .* delete"),
        ("upsampler/checkpoint.pt", "checkpoint.pt is damaged or no checkpoint"),
    ],
)
def test_damaged_files_of_a_run_are_named(
    file: str, words: str, finished: Path, recipe: Path, photos: Path, tmp_path: Path
) -> None:
    out = copied(finished, tmp_path, "pool", "upsampler")
    (out / file).write_bytes(b"{")
    with pytest.raises(TrainingError, match=words):
        runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu"))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc")
def test_a_photograph_that_cannot_be_read_is_passed_over(recipe: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "unreadable.png").symlink_to("/proc/self/mem")
    images = [photos / "0.png", tmp_path / "unreadable.png"]
    prepare_pool(images, load_recipe(str(recipe)).data, 0, tmp_path / "pool", 1)
    entries = json.loads((tmp_path / "pool" / "manifest.json").read_text())["images"]
    assert ["passed_over" in entry for entry in entries] == [False, True]


def test_a_full_disk_is_no_bug(
    finished: Path, recipe: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied(finished, tmp_path, "pool")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lpnsr.training.records.Records._append", full)
    with pytest.raises(TrainingError, match="upsampler cannot be written: No space left on device"):
        runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu", budget=Budget(log_every=1)))


@pytest.mark.parametrize("minutes", [-1.0, float("nan")])
def test_minutes_that_would_never_end(minutes: float, recipe: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give 0 or more"):
        runs.train("upsampler", runs.Run(tmp_path, str(recipe), (photos,), device="cpu", minutes=minutes))


def test_no_minutes_at_all(finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    out = copied(finished, tmp_path, "pool")
    assert not runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu", minutes=0))
    assert checkpoint(out / "upsampler")["step"] == 0


def test_a_recipe_states_what_differs_from_another(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "extends: lite\nstages: {denoiser: {steps: 7, gan: {kind: unet, channels: 48}}}"
    )
    (tmp_path / "again.yaml").write_text("extends: mine.yaml\ndata: {degradations: {classic: 1}}\n")
    lite, again = load_recipe("lite"), load_recipe(str(tmp_path / "again.yaml"))
    denoiser = again.stages["denoiser"]
    assert (denoiser.steps, denoiser.batch) == (7, lite.stages["denoiser"].batch)
    assert denoiser.gan is not None
    assert denoiser.gan.begin_with is None  # a key's value is replaced as a whole
    assert again.stages["upsampler"] == lite.stages["upsampler"]
    assert again.data.degradations == {"classic": 1}
    assert again.data.crop == lite.data.crop


@pytest.mark.parametrize(("base", "words"), [("me.yaml", "extends itself"), ("nowhere", "no recipe"), ("[a]", "name")])
def test_a_recipe_that_extends_nothing_of_use(base: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "me.yaml").write_text(f"extends: {base}\n")
    with pytest.raises(ConfigError, match=words):
        load_recipe(str(tmp_path / "me.yaml"))


@pytest.mark.parametrize("name", ["nothing", "missing.yaml"])
def test_a_recipe_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load_recipe(name)
