"""``lpnsr evaluate`` end to end: folders of other methods with all their oddities, models, and the report."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from typer.testing import CliRunner, Result

import lpnsr
from lpnsr.apps.cli import app
from lpnsr.evaluation import upscaling
from lpnsr.evaluation.files import read_unit
from lpnsr.networks import chain_flops
from support.evaluation_references import photograph

EVIL = 'evil & <b>"name'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """hr/ of three photographs, lr/ of a quarter, sharp/ and blurred/ with the names that tools give."""
    for folder in ("hr", "lr", "sharp", "blurred"):
        (tmp_path / folder).mkdir()
    for name in ("coast.jpg", "dog.png", "otter.png"):
        hr = photograph(name).crop((0, 0, 128, 128))
        stem = name.split(".")[0]
        hr.save(tmp_path / "hr" / f"{stem}.png")
        hr.resize((32, 32), Image.Resampling.BICUBIC).save(tmp_path / "lr" / f"{stem}x4.png")
        hr.filter(ImageFilter.SHARPEN).save(tmp_path / "sharp" / f"{stem.upper()}_net_x4.PNG")
        hr.filter(ImageFilter.GaussianBlur(2)).save(tmp_path / "blurred" / f"{stem}_out.png")
    return tmp_path


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"TERM": "dumb"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_folders_of_results(data: Path) -> None:
    out = data / "out"
    folders = ("--sr", data / "sharp", "--sr", f"soft={data / 'blurred'}", "--hr", data / "hr")
    result = run(*folders, "--lr", data / "lr", "--metrics", "psnr,ssim", "-o", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Y channel (BT.601, 16..235), 4 px border" in result.stdout
    report = json.loads((out / "report.json").read_text())
    assert report["methods"] == {"sharp": str(data / "sharp"), "soft": str(data / "blurred")}
    scores = rows(out / "scores.csv")
    assert len(scores) == 3 * 2 * 2
    assert all(row["protocol"] and row["version"] and row["value"] for row in scores)
    for method in ("sharp", "soft"):
        values = [float(r["value"]) for r in scores if (r["method"], r["metric"]) == (method, "psnr")]
        mean = report["means"][method]["psnr"]
        assert mean["mean"] == pytest.approx(np.mean(values))
        assert min(values) - 1e-9 <= mean["low"] < mean["mean"] < mean["high"] <= max(values) + 1e-9
        assert mean["count"] == 3
    difference = report["differences"][0]
    assert (difference["a"], difference["b"], difference["metric"]) == ("sharp", "soft", "psnr")
    assert difference["verdict"] == "sharp is better, on only 3 images"
    means = rows(out / "means.csv")
    assert [r["method"] for r in means] == ["sharp", "sharp", "soft", "soft", "sharp - soft", "sharp - soft"]
    text = (out / "report.md").read_text()
    assert "| **" in text
    assert "| method | images | PSNR ↑ | SSIM ↑ |\n| --- | ---: | ---: | ---: |" in text
    assert "| methods | metric | mean difference | images |  |\n| --- | --- | ---: | ---: | --- |" in text
    assert "PSNR: Y channel" in text
    page = (out / "report.html").read_text()
    assert page.count("<section>") == 3
    assert page.count("data:image/png") == 3  # LR
    assert page.count("data:image/jpeg") == 9
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page)
    assert not re.findall(r"https?://|@import|url\(", page)
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.size[0] == 4 * 292 - 4  # LR, two methods, HR
    assert not list(out.glob(".lpnsr-*"))


def test_missing_odd_and_broken_files_are_told_and_the_rest_scored(data: Path) -> None:
    sharp = data / "sharp"
    (sharp / "COAST_net_x4.PNG").write_bytes(b"\x89PNG\r\n broken")
    dog = Image.open(sharp / "DOG_net_x4.PNG")
    dog.crop((0, 0, 126, 128)).save(sharp / "DOG_net_x4.PNG")
    Image.open(sharp / "OTTER_net_x4.PNG").convert("L").save(sharp / "OTTER_net_x4.PNG")
    dog.save(sharp / "stranger.png")
    (data / "blurred" / "dog_out.png").unlink()
    folders = ("--sr", sharp, "--sr", data / "blurred", "--hr", data / "hr")
    result = run(*folders, "--metrics", "psnr", "--metrics", "niqe,musiq", "-o", data / "out", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert [(p["where"], p["file"], p["failed"]) for p in report["problems"]] == [
        ("sharp", "stranger.png", False),
        ("blurred", "dog.png", False),
        ("sharp", "COAST_net_x4.PNG", True),
        ("sharp", "DOG_net_x4.PNG", True),
    ]
    assert "126 x 128 px and the reference 128 x 128 px" in result.stderr
    assert report["missing"]["sharp"] == {
        "psnr": {"unreadable": 1, "of another size": 1},
        "niqe": {"unreadable": 1},
    }
    assert (report["means"]["sharp"]["psnr"]["count"], report["means"]["sharp"]["niqe"]["count"]) == (1, 2)
    assert report["means"]["blurred"]["psnr"]["count"] == 2
    assert (
        "pip install 'lpnsr[evaluate]'" in report["unavailable"]["musiq"] or "pyiqa" in report["unavailable"]["musiq"]
    )
    page = (data / "out" / "report.html").read_text()
    assert "not available" in page
    assert "stranger.png" in page


def test_images_without_a_score_are_left_out_of_a_mean_that_says_so(data: Path) -> None:
    sharp, hr, out = data / "sharp", data / "hr", data / "out"
    (sharp / "COAST_net_x4.PNG").write_bytes((hr / "coast.png").read_bytes())
    for path in (sharp / "DOG_net_x4.PNG", hr / "dog.png"):
        Image.open(path).crop((0, 0, 16, 16)).save(path)
    result = run("--sr", sharp, "--sr", f"soft={data / 'sharp'}", "--hr", hr, "--metrics", "psnr,ssim", "-o", out)
    assert result.exit_code == 0
    assert "note: sharp: COAST_net_x4.PNG: it equals the reference: its PSNR is infinite" in result.stderr
    assert "note: sharp: DOG_net_x4.PNG: it is 16 x 16 px; SSIM needs sides of 19 px at least" in result.stderr
    assert "(2 of 3: 1 infinite)" in result.stdout
    report = json.loads((out / "report.json").read_text())
    assert report["missing"]["sharp"] == {"psnr": {"infinite": 1}, "ssim": {"too small": 1}}
    scores = {(r["image"], r["method"], r["metric"]): r for r in rows(out / "scores.csv")}
    finite = [float(scores[name, "sharp", "psnr"]["value"]) for name in ("dog", "otter")]
    assert report["means"]["sharp"]["psnr"]["mean"] == pytest.approx(np.mean(finite))
    assert scores["coast", "sharp", "psnr"]["value"] == ""
    assert "infinite" in scores["coast", "sharp", "psnr"]["reason"]
    means = {(r["method"], r["metric"]): (r["count"], r["missing"]) for r in rows(out / "means.csv")}
    assert means["sharp", "ssim"] == ("2", "1 too small")
    assert means["sharp - soft", "ssim"] == ("2", "")
    for text in ((out / "report.md").read_text(), (out / "report.html").read_text()):
        assert "(2 of 3: 1 infinite)" in text
        assert "(2 of 3: 1 too small)" in text
    page = (out / "report.html").read_text()
    assert ">infinite</td>" in page
    assert ">too small</td>" in page


def test_a_mean_of_nothing_says_why(data: Path) -> None:
    result = run("--sr", f"same={data / 'hr'}", "--hr", data / "hr", "--metrics", "psnr", "-o", data / "out")
    assert result.exit_code == 0
    assert "| same | 0 | – (0 of 3: 3 infinite) |" in (data / "out" / "report.md").read_text()
    (row,) = rows(data / "out" / "means.csv")
    assert (row["mean"], row["count"], row["missing"]) == ("", "0", "3 infinite")


def test_a_second_run_reads_the_scores_of_the_first(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("--sr", data / "sharp", "--hr", data / "hr", "--metrics", "psnr", "-o", data / "out")
    assert run(*arguments).exit_code == 0
    before = (data / "out" / "report.json").read_text()

    def never(*_: object) -> float:
        raise AssertionError("computed again")

    monkeypatch.setattr("lpnsr.evaluation.metrics.fidelity.psnr", never)
    assert run(*arguments, "-q").exit_code == 0
    assert (data / "out" / "report.json").read_text() == before


def test_models_upscale_and_are_timed(data: Path) -> None:
    arguments = ("--model", "bicubic", "--model", "small=lite", "--lr", data / "lr", "-o", data / "out")
    assert run(*arguments, "--hr", data / "hr", "--metrics", "psnr,lpips", "--device", "cpu").exit_code == 0
    report = json.loads((data / "out" / "report.json").read_text())
    assert set(report["methods"]) == {"bicubic", "small"}
    assert report["timings"]["small"]["count"] == 3
    assert report["timings"]["small"]["median_seconds"] > 0
    assert "cpu" in report["timings"]["small"]["protocol"]
    result = Image.open(data / "out" / "small" / "dogx4.png")
    assert result.size == (128, 128)
    direct = lpnsr.Upscaler.from_pretrained("lite", device="cpu")(data / "lr" / "dogx4.png")
    assert np.array_equal(np.asarray(result), np.asarray(direct))
    assert report["means"]["small"]["psnr"]["count"] == report["means"]["bicubic"]["psnr"]["count"] == 3
    assert report["metrics"]["lpips"]["title"] == "LPIPS (training loss)"


def test_interpolation_foreign_networks_and_starts_stand_beside_models(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("spandrel")
    monkeypatch.setenv("LPNSR_CACHE", str(tmp_path))
    (tmp_path / "models").mkdir()
    network = import_module("spandrel.architectures.Compact").Compact(num_feat=8, num_conv=1, upscale=4)
    path = tmp_path / "models" / "net.pth"
    torch.save(network.state_dict(), path)
    words = ["--model", "bicubic", "--model", "lanczos", "--model", "start=lite:start"]
    words += [
        "--model",
        f"net={path}",
        "--model",
        "named=net",
        "--lr",
        data / "lr",
        "--hr",
        data / "hr",
        "-o",
        data / "out",
    ]
    result = run(*words, "--metrics", "psnr", "--device", "cpu")
    assert result.exit_code == 0
    report = json.loads((data / "out" / "report.json").read_text())
    timings = report["timings"]
    assert timings["bicubic"]["mflop"] is timings["lanczos"]["mflop"] is None
    parts = lpnsr.Upscaler.from_pretrained("lite", device="cpu").parts
    assert timings["start"]["mflop"] == pytest.approx(chain_flops(parts, 0) / 1e6)
    weights = [p for p in network.parameters() if p.ndim == 4]
    assert timings["net"]["mflop"] == pytest.approx(2 * sum(p.numel() for p in weights) / 1e6)
    assert report["metrics"]["psnr"]["title"] == "PSNR"
    lr = read_unit(data / "lr" / "dogx4.png")
    for name, net in (("net", network), ("named", network), ("start", parts["upsampler"])):
        with torch.inference_mode():
            expected = (net(lr[None])[0].clamp(0, 1) * 255).round() / 255
        off = (read_unit(data / "out" / name / "dogx4.png") - expected).abs()
        assert off.max() < 1.01 / 255  # another order of the same sums rounds otherwise
        assert off.mean() < 0.001 / 255
    theirs = np.asarray(Image.open(data / "lr" / "dogx4.png").resize((128, 128), Image.Resampling.LANCZOS)).astype(int)
    made = {name: np.asarray(Image.open(data / "out" / name / "dogx4.png")) for name in ("bicubic", "lanczos")}
    errors = {name: np.abs(pixels - theirs).mean() for name, pixels in made.items()}
    assert errors["lanczos"] < 0.3 < errors["bicubic"] / 2  # Pillow rounds rows before it resamples columns
    assert "MFLOP/LR px" in result.stdout
    before = (data / "out" / "report.json").read_text()
    run(*words, "--metrics", "psnr", "--device", "cpu")  # nothing is made again, and nothing forgotten
    assert (data / "out" / "report.json").read_text() == before


def test_results_are_made_again_only_if_something_changed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (
        "--model",
        "bicubic",
        "--lr",
        data / "lr",
        "--hr",
        data / "hr",
        "--metrics",
        "psnr",
        "-o",
        data / "out",
    )
    run(*arguments)
    made = data / "out" / "bicubic"
    Image.new("RGB", (32, 32)).save(data / "lr" / "dogx4.png")
    (made / "otterx4.png").write_bytes(b"damaged")
    times = {path.name: path.stat().st_mtime_ns for path in made.glob("*.png")}
    run(*arguments)
    again = {path.name: path.stat().st_mtime_ns for path in made.glob("*.png")}
    assert {name for name in times if times[name] != again[name]} == {"dogx4.png", "otterx4.png"}
    (data / "lr" / "coastx4.png").unlink()
    run(*arguments)  # what an earlier run made of it is no result of this one
    report = json.loads((data / "out" / "report.json").read_text())
    assert report["means"]["bicubic"]["psnr"]["count"] == 2
    monkeypatch.setattr(upscaling, "__version__", "another")
    run(*arguments)
    newest = {path.name: path.stat().st_mtime_ns for path in made.glob("*.png")}
    assert {name for name in again if again[name] != newest[name]} == {"dogx4.png", "otterx4.png"}
    (made / "timings.json").write_text("[1]")  # of no use to anyone
    assert run(*arguments).exit_code == 0


def test_a_folder_that_cannot_be_made_is_told(data: Path) -> None:
    (data / "out").mkdir()
    (data / "out" / "bicubic").touch()
    result = run("--model", "bicubic", "--lr", data / "lr", "-o", data / "out")
    assert (result.exit_code, result.stderr) == (1, f"error: {data / 'out' / 'bicubic'}: cannot be made: File exists\n")


def test_without_references_only_metrics_that_need_none(data: Path) -> None:
    (data / "lr" / "coastx4.png").write_bytes(b"broken")
    result = run("--model", "bicubic", "--lr", data / "lr", "-o", data / "out")
    assert result.exit_code == 1
    assert "LR for bicubic: coastx4.png" in result.stderr
    report = json.loads((data / "out" / "report.json").read_text())
    assert list(report["metrics"]) == ["niqe"]
    assert report["means"]["bicubic"]["niqe"]["count"] == 2


@pytest.mark.parametrize(
    ("words", "name"), [(["--lr"], "inputs"), (["--sr"], "odd"), (["--model", "bicubic", "--lr"], "bicubic")]
)
def test_odd_images_without_references(data: Path, words: list[str], name: str) -> None:
    odd, out = data / "odd", data / "out"
    odd.mkdir()
    photo = Image.open(data / "hr" / "otter.png")
    photo.save(odd / "plain.png")
    photo.convert("L").save(odd / "gray.png")
    photo.resize((200, 110)).save(odd / "wide.jpg")
    photo.crop((0, 0, 20, 20)).save(odd / "tiny.png")
    (odd / "broken.png").write_bytes((odd / "plain.png").read_bytes()[:300])
    result = run(*words, odd, "--metrics", "niqe,psnr", "-o", out)
    assert result.exit_code == 1
    assert f"{name}: broken.png: " in result.stderr
    report = json.loads((out / "report.json").read_text())
    assert list(report["methods"]) == [name]
    assert list(report["metrics"]) == ["niqe"]
    assert "there are none" in report["unavailable"]["psnr"]
    assert report["means"][name]["niqe"]["count"] == 3
    assert report["missing"][name]["niqe"]["too small"] == 1
    scored = [row["image"] for row in rows(out / "scores.csv") if row["value"]]
    assert sorted(scored) == ["gray", "plain", "wide"]
    assert (out / "report.html").read_text().count("<section>") == 4


def test_names_are_text_in_the_page(data: Path) -> None:
    result = run("--sr", f"{EVIL}={data / 'sharp'}", "--hr", data / "hr", "--metrics", "psnr", "-o", data / "out")
    assert result.exit_code == 0
    assert "<b>" not in (data / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--sr, or models with --model"),
        (["--lr", "{hr}", "--hr", "{hr}"], "--lr alone for the inputs themselves"),
        (["--hr", "{hr}"], "--sr, or models with --model"),
        (["--model", "lite"], "--lr"),
        (["--sr", "nowhere"], "nowhere is no folder"),
        (["--sr", "HR={hr}"], "'HR' cannot name a method"),
        (["--model", "lr=bicubic", "--lr", "{out}/lr"], "choose another --out"),
        (["--model", "hr=bicubic", "--lr", "{hr}", "--hr", "{out}/hr"], "choose another --out"),
        (["--sr", "{hr}", "--hr", "{hr}", "--weights", "lpips={hr}/dog.png"], "no metric takes such"),
        (["--sr", "{hr}", "--sr", "{hr}"], "have one name, hr"),
        (["--sr", "{sharp}", "--hr", "{hr}", "--metrics", "pnsr"], "'pnsr' is not known"),
        (["--sr", "{sharp}", "--hr", "{hr}", "--protocol", "x"], "protocol 'x' is not known"),
        (["--sr", "{sharp}", "--hr", "{hr}", "--weights", "r50=nothing"], "METRIC=FILE"),
    ],
)
def test_wrong_usage_is_exit_code_2(data: Path, arguments: list[str], message: str) -> None:
    given = [a.format(hr=data / "hr", sharp=data / "sharp", out=data / "out") for a in arguments]
    result = run(*given, "-o", data / "out")
    assert result.exit_code == 2
    assert message in result.stderr


def test_nothing_that_pairs_is_told_with_names(data: Path) -> None:
    for path in (data / "sharp").iterdir():
        path.rename(path.with_name(f"zz{path.name}"))
    result = run("--sr", data / "sharp", "--hr", data / "hr", "-o", data / "out")
    assert result.exit_code == 2
    assert "zzCOAST_net_x4.PNG" in result.stderr


def test_results_of_a_model_replace_nobodys_files(data: Path) -> None:
    mine = data / "out" / "bicubic" / "coastx4.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes((data / "hr" / "coast.png").read_bytes())
    words = ("--model", "bicubic", "--lr", data / "lr", "--hr", data / "hr", "--metrics", "psnr", "-o", data / "out")
    result = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    assert (result.exit_code, "did not make" in result.stderr) == (2, True)
    assert mine.read_bytes() == (data / "hr" / "coast.png").read_bytes()


def test_a_console_without_arrows(data: Path) -> None:
    words = ["--sr", str(data / "sharp"), "--hr", str(data / "hr"), "--metrics", "psnr", "-o", str(data / "out")]
    code = f"from lpnsr.apps.cli import main; import sys; sys.argv = ['lpnsr', 'evaluate', *{words}]; main()"
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"PSNR ?" in done.stdout
