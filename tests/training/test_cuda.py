"""On an NVIDIA GPU: all stages in bfloat16, and going on from a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from lpnsr.upscaling.upscaler import Upscaler
from support.training_run import ORDER, log_of, train

pytestmark = pytest.mark.cuda


def test_all_stages_make_a_model(recipe: Path, photos: Path, gpu: torch.device, tmp_path: Path) -> None:
    done = train("all", recipe, photos, tmp_path / "run", "--device", str(gpu), "--precision", "bf16")
    assert done.returncode == 0, done.stderr
    for stage in ORDER:
        assert all(math.isfinite(value) for row in log_of(tmp_path / "run" / stage) for value in row.values())
    up = Upscaler.from_pretrained(tmp_path / "run" / "model", device=str(gpu))
    assert torch.isfinite(torch.from_numpy(up(torch.rand(12, 10, 3).numpy()))).all()


def test_a_stage_goes_on(recipe: Path, photos: Path, gpu: torch.device, tmp_path: Path) -> None:
    options = ("--device", str(gpu), "--save-every", "2")
    first = train("autoencoder", recipe, photos, tmp_path, *options, "--minutes", "0.001")
    assert first.returncode == 0, first.stderr
    again = train("autoencoder", recipe, photos, tmp_path, *options)
    assert again.returncode == 0, again.stderr
    assert "step 6 of 6" in again.stdout + again.stderr
