"""The Python of README.md runs as it stands, each block by itself."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import REPOSITORY
from lpnsr.imaging import Photo, read, write

TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    write(Photo(pixels.astype(np.uint16) * 257), tmp_path / "scan.tif")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(BLOCKS[number], f"README.md, Python block {number + 1}", "exec"), names)
    for made in {path.name for path in tmp_path.iterdir()} - {"photo.jpg", "scan.tif"}:
        assert min(read(made).pixels.shape[:2]) > 16
    if "x0" in names:
        assert names["sr"].shape == (1, 3, 128, 128)  # type: ignore[attr-defined]


def test_there_are_blocks_and_the_files_that_they_name_are_prepared() -> None:
    assert len(BLOCKS) >= 3
    assert set(re.findall(r'"(\w+\.(?:jpg|tif))"', "".join(BLOCKS))) <= {"photo.jpg", "scan.tif"}
