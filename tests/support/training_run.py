"""A tiny recipe, the command that trains by it, and a finished run of all five stages, for whichever tests want it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from support.tiny_model import CHAIN, GUIDED

BATCH = 4
IMAGE = [{"name": "l1"}, {"name": "lpips"}]
STAGE = {"steps": 6, "batch": BATCH, "patch": 64, "warmup": 1, "losses": IMAGE}
OTHERS = [{"name": name} for name in ("symmetry", "lattice", "excess", "statistics")]
GAN = {"name": "gan", "channels": 8, "from": 1}
RECIPE: dict[str, Any] = {
    "networks": GUIDED | {"denoiser": GUIDED["denoiser"] | {"variance": "measure"}},
    "chain": CHAIN,
    "data": {"crop": 96, "pool": 24, "held_out": 10, "validation": 2},
    "stages": {
        "autoencoder": STAGE | {"losses": [*IMAGE, {"name": "moments", "weight": 0.01}]},
        "upsampler": STAGE | {"losses": [*IMAGE, *OTHERS, GAN | {"kind": "unet"}]},
        "denoiser": STAGE | {"losses": [{"name": "mse"}]},
        "noise-predictor": STAGE
        | {"patch": 96}
        | {"checkpointing": True, "start_from": {"bicubic": 1.0, "upsampler": 1.0}, "enter": {2: 1.0, 4: 1.0}}
        | {"losses": [*IMAGE, GAN | {"every": 2}, {"name": "latent-gan", "channels": 8, "adaptive": True}]},
        "joint": STAGE | {"losses": [*IMAGE, GAN | {"begin_with": "noise-predictor"}]},
    },
}
ORDER = ("autoencoder", "upsampler", "denoiser", "noise-predictor", "joint")
TIMINGS = ("seconds", "images_per_second", "waiting_for_data")


def slow(value: Any) -> Any:
    """A parameter whose test is slow."""
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(RECIPE, tmp_path_factory.mktemp("recipe"))


def written(values: dict[str, Any], folder: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def command(stage: str, recipe: Path, photos: Path, out: Path, *options: str) -> list[str]:
    words = ["-m", "lpnsr", "train", stage, "--recipe", str(recipe), "--out", str(out), "--data", str(photos)]
    return [*words, "--device", "cpu", "--precision", "fp32", "--log-every", "2", "--validate-every", "3", *options]


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


@pytest.fixture(scope="session")
def finished(recipe: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all five stages."""
    out = tmp_path_factory.mktemp("run")
    done = train("all", recipe, photos, out)
    assert done.returncode == 0, done.stderr
    assert "broken.jpg" in done.stderr
    assert "too small.png: passed over, 30 x 200 px" in done.stderr
    return out


def copied(finished: Path, out: Path, *names: str) -> Path:
    for name in names:
        shutil.copytree(finished / name, out / name)
    return out
