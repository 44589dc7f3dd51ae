"""The validation set of the repository."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lpnsr.apps.cli import app
from lpnsr.evaluation.datasets import VAL32, VAL32_SHA256, checksum, recognised


def test_the_validation_images_are_those_of_the_checksum(val32: Path) -> None:
    assert checksum(val32) == VAL32_SHA256
    for folder in ("hr", "lr_real", "lr_bicubic"):
        assert len(list((val32 / folder).glob("*.png"))) == 32
    with (val32 / "SOURCES.csv").open() as file:
        sources = list(csv.DictReader(file))
    assert {row["file"] for row in sources} == {f"hr/{path.name}" for path in (val32 / "hr").iterdir()}
    licences = (val32 / "LICENCES.md").read_text()
    assert all(row["source_repo"] in licences for row in sources)


def test_an_evaluation_names_the_validation_images(val32: Path, tmp_path: Path) -> None:
    words = ("evaluate", "--lr", val32 / "lr_real", "--metrics", "niqe", "-o", tmp_path)
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    named = f"{VAL32}, sha256 {VAL32_SHA256}"
    assert f"Images: {named}" in result.stdout
    assert json.loads((tmp_path / "report.json").read_text())["dataset"] == named
    assert all(named in (tmp_path / name).read_text() for name in ("report.md", "report.html"))


@pytest.mark.parametrize("change", ["renamed", "damaged", "missing"])
def test_other_images_are_not_the_validation_set(val32: Path, tmp_path: Path, change: str) -> None:
    copy = tmp_path / "val"
    shutil.copytree(val32, copy)
    assert recognised(None, tmp_path, copy / "hr")
    one = copy / "lr_real" / "clic_002.png"
    if change == "renamed":
        one.rename(one.with_name("other.png"))
    elif change == "missing":
        one.unlink()
    else:
        one.write_bytes(one.read_bytes()[:-1])
    assert recognised(copy / "hr", copy / "lr_real") == ""
