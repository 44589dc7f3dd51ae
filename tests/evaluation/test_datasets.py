"""Test sets: published layouts, and the validation set of the repository."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from lpnsr.apps.cli import app
from lpnsr.evaluation.datasets import DATASETS, VAL32, VAL32_SHA256, checksum, recognised
from lpnsr.evaluation.metrics.fidelity import PROTOCOLS


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


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
    result = run("--lr", val32 / "lr_real", "--metrics", "niqe", "-o", tmp_path)
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


def published(root: Path, name: str) -> None:
    """Make two images of a test set in its layout, LR of 8 x 6 px."""
    dataset = DATASETS[name]
    for patterns, size in ((dataset.lr, (8, 6)), (dataset.hr, (32, 24))):
        for pattern in patterns:
            camera = pattern.split("/")[0] if len(dataset.lr) > 1 else "image"
            for index in "12":
                path = (root / pattern.replace("*", f"{camera}_{index}")).with_suffix(".png")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.effect_noise(size, 60).convert("RGB").save(path)


@pytest.mark.parametrize("name", [name for name, dataset in DATASETS.items() if not dataset.checked])
def test_the_layouts_of_published_sets(tmp_path: Path, name: str) -> None:
    root, dataset, out = tmp_path / "set", DATASETS[name], tmp_path / "out"
    published(root, name)
    (root / "README.md").touch()
    metrics = "psnr" if dataset.hr else "psnr,niqe"
    result = run("--data", name, "--root", root, "--model", "bicubic", "--metrics", metrics, "-o", out)
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    images = 2 * len(dataset.lr)
    assert len(report["images"]) == images
    assert report["dataset"].startswith(f"{dataset.title}: {images} of {dataset.count} images; ")
    if dataset.hr:
        assert report["means"]["bicubic"]["psnr"]["count"] == images
        assert report["metrics"]["psnr"]["protocol"] == str(PROTOCOLS[dataset.protocol])
    else:
        assert list(report["metrics"]) == ["niqe"]
    rgb = run("--data", name, "--root", root, "--model", "bicubic", "--protocol", "rgb", "-o", out)
    assert rgb.exit_code == 0
    if dataset.hr:
        assert "RGB" in json.loads((out / "report.json").read_text())["metrics"]["psnr"]["protocol"]


def test_results_of_others_on_a_published_set(tmp_path: Path) -> None:
    published(tmp_path / "set", "realsr")
    (tmp_path / "theirs").mkdir()
    for path in (tmp_path / "set").glob("*/Test/4/*_HR.png"):
        Image.effect_noise((32, 24), 60).convert("RGB").save(tmp_path / "theirs" / path.name.replace("_HR", "_LR4_out"))
    words = ("--data", "realsr", "--root", tmp_path / "set", "--metrics", "psnr", "-o", tmp_path / "out")
    assert run("--sr", tmp_path / "theirs", *words).exit_code == 0
    means = json.loads((tmp_path / "out" / "report.json").read_text())["means"]
    assert means["theirs"]["psnr"]["count"] == 4


def test_the_validation_images_as_a_published_set(val32: Path, tmp_path: Path) -> None:
    words = ("--data", "val32-bicubic", "--sr", val32 / "hr", "--metrics", "psnr,niqe")
    assert run(*words, "--root", val32, "-o", tmp_path / "out").exit_code == 0
    dataset = json.loads((tmp_path / "out" / "report.json").read_text())["dataset"]
    assert dataset.startswith(f"{VAL32}, lr_bicubic: 32 of 32 images; ")
    assert dataset.endswith(VAL32_SHA256)
    shutil.copytree(val32, tmp_path / "val")
    (tmp_path / "val" / "hr" / "clic_002.png").unlink()
    result = run(*words, "--root", tmp_path / "val", "-o", tmp_path / "out")
    assert (result.exit_code, f"has files other than {VAL32}" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "realsr"], "both --data and --root"),
        (["--root", "{root}"], "both --data and --root"),
        (["--data", "urban100", "--root", "{root}"], "choose from val32-real, val32-bicubic, realsr, "),
        (["--data", "drealsr", "--root", "{root}", "--hr", "{root}"], "leave out --hr and --lr"),
        (["--data", "div2k-val", "--root", "{root}"], "no images DIV2K_valid_HR/*.png, DIV2K_valid_LR_bicubic/X4/*x4"),
        (["--data", "realsr", "--root", "{root}"], "HR: Canon/Test/4/*_HR.png, Nikon/Test/4/*_HR.png; LR: Canon/"),
        (["--data", "imagenet-test", "--root", "{root}"], "has 32 x 24 px and image_1.png has 32 x 24: an LR image of"),
    ],
)
def test_what_is_no_published_set_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    root = tmp_path / "set"
    published(root, "drealsr")
    published(root, "imagenet-test")
    shutil.rmtree(root / "lq")
    shutil.copytree(root / "gt", root / "lq")  # as large as the references
    given = [word.format(root=root) for word in words]
    result = run(*given, "--model", "bicubic", "-o", tmp_path / "out")
    assert (result.exit_code, message in result.stderr) == (2, True), result.output
    assert not (tmp_path / "out").exists()
