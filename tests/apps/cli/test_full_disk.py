"""Commands whose disk becomes full: one clear error, nothing half written, and they go on when there is room."""

from __future__ import annotations

from pathlib import Path

import pytest

from lpnsr.imaging import EXTENSIONS, read
from support.small_disk import SmallDisk, contents, resize_disk
from support.upscale_command import make, run


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make("in/a.png", size=(8, 8))
    make("in/big.png", size=(64, 64))
    return tmp_path / "in"


def options(model: Path, *more: object) -> list[object]:
    return ["-n", model, "--device", "cpu", "--steps", 0, *more]


@pytest.mark.parametrize("extension", [".avif", ".bmp", ".gif", ".jpg", ".png", ".tif", ".webp"])
def test_upscale(tiny_model: Path, inputs: Path, small_disk: SmallDisk, extension: str) -> None:
    if extension not in EXTENSIONS:
        pytest.skip(f"this Pillow has no {extension}")
    disk = small_disk(16)
    words = [inputs, "-o", disk, *options(tiny_model, "--ext", extension[1:], "--quality", 100)]
    told = run(*words, code=1).stderr
    assert f"error: {disk}/big{extension}: the disk is full; make room" in told
    before = contents(disk)
    assert [*before] == [f"a{extension}"]
    assert read(disk / f"a{extension}").pixels.shape[:2] == (32, 32)
    resize_disk(disk, size="4m")
    run(*words, "--skip-existing")
    after = contents(disk)
    assert sorted(after) == [f"a{extension}", f"big{extension}"]
    assert before.items() <= after.items()


def test_upscale_where_no_folder_can_be_made(tiny_model: Path, inputs: Path, small_disk: SmallDisk) -> None:
    disk = small_disk(40)
    resize_disk(disk, nr_inodes="1")
    told = run(inputs / "a.png", "-o", disk / "new" / "a.png", *options(tiny_model), code=1).stderr
    assert told == f"error: {disk}/new/a.png: the disk is full; make room or write elsewhere\n"


def test_upscale_with_compare_pictures(tiny_model: Path, inputs: Path, small_disk: SmallDisk) -> None:
    """A result comes after its compare picture, so that it says that both are there."""
    disk = small_disk(8)
    told = run(inputs / "a.png", "-o", disk, *options(tiny_model, "--compare"), code=1).stderr
    assert f"error: {disk}/a.compare.png: the disk is full" in told
    assert contents(disk) == {}
