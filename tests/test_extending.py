"""docs/extending.md: a network, a noise source and a loss from outside the package are used without a change of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lpnsr.errors import LpnsrError
from lpnsr.training.losses.base import LOSSES
from lpnsr.training.runs import Run, train
from support.repository import REPOSITORY
from support.training_run import RECIPE, STAGE, photos, written  # noqa: F401

BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8"), re.M | re.S
)


def run_block(number: int) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "extension"}
    exec(compile(BLOCKS[number], "docs/extending.md", "exec", dont_inherit=True), names)
    return names


def test_a_network_of_scale_2_upscales_from_file_to_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)).save("photo.jpg")
    run_block(0)
    assert Image.open("photo_x2.png").size == (48, 32)
    assert json.loads(Path("mine/upsampler/config.json").read_text(encoding="utf-8")) == {
        "type": "sharpened",
        "scale": 2,
    }


def test_a_noise_source_is_asked() -> None:
    names = run_block(1)
    assert names["sr"].shape == (1, 3, 128, 128)
    with torch.inference_mode():
        usual = names["restorer"].restore(names["lr"], names["NoiseField"](seed=0).draw(), noise="gaussian")
    assert not torch.equal(usual, names["sr"])


def test_a_loss_trains(tmp_path: Path, photos: Path) -> None:  # noqa: F811
    name = "charbonnier"
    stages = {"upsampler": STAGE | {"steps": 2, "losses": [{"name": name}]}}
    recipe = str(written(RECIPE | {"stages": stages}, tmp_path))
    if name not in LOSSES:
        with pytest.raises(LpnsrError, match="unknown loss 'charbonnier'"):
            train("upsampler", Run(tmp_path / "run", recipe, (photos,), device="cpu"))
        run_block(2)
    assert train("upsampler", Run(tmp_path / "run", recipe, (photos,), device="cpu"))
    line = json.loads((tmp_path / "run" / "upsampler" / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert line[name] > 0
