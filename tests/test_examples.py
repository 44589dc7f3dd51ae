"""The scripts in examples/scripts/ run, in short, and do what they say."""

from __future__ import annotations

import csv
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpnsr import Upscaler
from lpnsr.imaging import read
from support.repository import REPOSITORY

SCRIPTS = REPOSITORY / "examples" / "scripts"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return picture(tmp_path / "photo.jpg", 0, (20, 16))


def picture(path: Path, seed: int, size: tuple[int, int]) -> Path:
    rough = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC).save(path, quality=98)
    return path


def run(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(SCRIPTS / script), run_name="__main__")


def test_python_api(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "python_api.py", photo, "--out", tmp_path / "out")
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "out").iterdir()}
    assert sizes == {"four_times.png": (80, 64), "to_a_size.webp": (640, 512), "faithful_and_quick.png": (160, 64)}


def test_batch_folder(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(SystemExit, match="1 failed"):
        run(monkeypatch, "batch_folder.py", tmp_path, "--out", tmp_path / "out", "--steps", 0)
    result = tmp_path / "out" / "photo_x4.png"
    made = result.stat().st_mtime_ns
    (tmp_path / "bad.png").unlink()
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "batch_folder.py", tmp_path, "--out", tmp_path / "out", "--steps", 0)
    assert ended.value.code == 0
    assert result.stat().st_mtime_ns == made  # what is done is not done again
    with (tmp_path / "out" / "log.csv").open(encoding="utf-8", newline="") as log:
        assert [row[:2] for row in csv.reader(log)] == [["bad.png", "failed"], ["photo.jpg", "done"]]


def test_own_upsampler(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, steps in (("alone.png", 0), ("chain.png", 1)):
        run(monkeypatch, "own_upsampler.py", photo, tmp_path / name, "--steps", steps)
    alone, chain = (read(tmp_path / name).pixels for name in ("alone.png", "chain.png"))
    assert alone.shape == chain.shape == (64, 80, 3)
    lite = np.asarray(Upscaler.from_pretrained("lite", device="cpu")(photo, steps=0))
    assert (alone != lite).any()
    assert (chain != alone).any()


def test_train_on_own_photos(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(10):
        picture(tmp_path / "photos" / f"{number}.jpg", number, (160, 136))
    recipe = tmp_path / "short.yaml"
    recipe.write_text(
        f"extends: {SCRIPTS / 'ten_minutes.yaml'}\ndata: {{crop: 128, pool: 9, held_out: 10, validation: 1}}\n"
        "stages: {upsampler: {steps: 1, batch: 1, patch: 64, warmup: 0}}\n"
    )
    words = [str(tmp_path / "photos"), "--out", str(tmp_path / "run"), "--recipe", str(recipe)]
    script = str(SCRIPTS / "train_on_own_photos.py")
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| mine \|", done.stdout)
    lite, mine = (Upscaler.from_pretrained(m, device="cpu").restorer for m in ("lite", tmp_path / "run" / "model"))
    same = {
        name: all(torch.equal(a, b) for a, b in zip(part.parameters(), old.parameters(), strict=True))
        for (name, part), (_, old) in zip(mine.named_children(), lite.named_children(), strict=True)
    }
    assert not same.pop("upsampler")
    assert all(same.values())


def test_each_script_is_in_the_documents_and_leaves_the_demo_alone() -> None:
    page = (REPOSITORY / "docs" / "examples.md").read_text(encoding="utf-8")
    names = {path.name for path in SCRIPTS.iterdir() if path.suffix in (".py", ".yaml")}
    assert {f"examples/scripts/{name}" for name in names} <= set(re.findall(r"examples/scripts/\w+\.\w+", page))
    assert {path.suffix for path in (REPOSITORY / "examples").iterdir()} == {"", ".jpg", ".md", ".png"}
