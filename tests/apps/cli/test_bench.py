"""``lpnsr bench``, and how it counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from typer.testing import CliRunner

from lpnsr.apps.cli import app
from lpnsr.evaluation import roofline as module
from lpnsr.evaluation.roofline import Counter, Roofline, Work
from lpnsr.networks.layers.winograd import use_winograd
from support.tiny_model import tiny_upscaler


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_BYTES", 1 << 20)
    monkeypatch.setattr(module, "_TRIES", 1)
    tiny_upscaler().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def bench(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["bench", *map(str, arguments)])
    return done.exit_code, done.output


def test_json_says_what_was_measured(model: Path) -> None:
    sizes = ("--size", "24x16", "--size", "48X32")
    code, text = bench("-n", model, *sizes, "--repetitions", 3, "--device", "cpu", "--dtype", "float32", "--json")
    assert code == 0
    result = json.loads(text)
    assert result["steps"] == 4
    assert result["dtype"] == "float32"
    assert result["roofline"]["gflop_per_second"] > 0
    assert result["roofline"]["gigabytes_per_second"] > 0
    small, large = result["sizes"]
    assert (small["width"], small["height"], small["repetitions"]) == (24, 16, 3)
    assert small["fastest"] <= small["seconds"] <= small["slowest"]
    assert small["lr_megapixels_per_second"] == pytest.approx(24 * 16 / 1e6 / small["seconds"])
    assert small["gflop_per_second"] == pytest.approx(small["gflop"] / small["seconds"])
    assert small["share_of_roofline"] > 0
    assert large["gflop"] > 3 * small["gflop"]
    parts = small["parts"]
    assert set(parts) == {
        "upsampler.upsample",
        "autoencoder.encode",
        "autoencoder.decode",
        "denoiser.denoise",
        "noise_predictor.predict",
    }
    assert sum(part["gflop"] for part in parts.values()) == pytest.approx(small["gflop"])
    assert 0 < sum(part["seconds"] for part in parts.values()) < 3 * small["slowest"]
    assert all(part["gflop_per_second"] > 0 and part["share_of_peak"] > 0 for part in parts.values())
    assert large["peak_bytes"] is None or large["peak_bytes"] > 50 << 20


def test_another_runtime(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    sizes = ("--size", "24x16", "--repetitions", 1, "--json")
    code, text = bench("-n", model, *sizes, "--runtime", "onnx", "--cache-dir", tmp_path)
    assert code == 0
    result, plain = json.loads(text), json.loads(bench("-n", model, *sizes, "--device", "cpu")[1])
    assert (result["runtime"], plain["runtime"]) == ("onnx", "torch")
    assert result["sizes"][0]["gflop"] == plain["sizes"][0]["gflop"]  # as PyTorch would compute it
    exported = next(path.parent for path in tmp_path.rglob("export.json"))
    code, text = bench("-n", exported, *sizes)
    assert code == 2
    assert "give the model that it was made from" in text


def test_the_table_and_fewer_steps(model: Path) -> None:
    code, text = bench("-n", model, "--size", "16x16", "--repetitions", 1, "--device", "cpu", "--steps", 1)
    assert code == 0
    assert "1 steps" in text
    assert "16x16" in text
    assert "of roofline" in text
    assert "denoiser.denoise" in text
    assert "noise_predictor" not in text  # it has no place in a chain of one step


@pytest.mark.parametrize(
    "arguments",
    [
        ("--size", "12"),
        ("--size", "0x4"),
        ("--tile", "many"),
        ("--steps", 9),
        ("--threads", 9999),
        ("--size", "1000000x1000000"),
    ],
)
def test_what_cannot_be_measured_is_said(model: Path, arguments: tuple[object, ...]) -> None:
    code, text = bench("-n", model, "--size", "16x16", *arguments)
    assert code == 2
    assert "error:" in text
    assert "Traceback" not in text


def test_work_is_counted_by_hand() -> None:
    x, kernel, matrix = torch.randn(2, 8, 10, 12), torch.randn(16, 8, 3, 3), torch.randn(5, 7)
    with Counter() as counter:
        F.conv2d(x, kernel, padding=1)
        F.conv2d(x, kernel, stride=2)
        matrix @ matrix.T
        x + x
    whole, strided, product = counter.work.operations
    assert whole == (2 * 9 * 8 * 16 * 2 * 10 * 12, 4 * (x.numel() + kernel.numel() + 2 * 16 * 10 * 12))
    assert strided[0] == 2 * 9 * 8 * 16 * 2 * 4 * 5
    assert product == (2 * 5 * 7 * 5, 4 * (35 + 35 + 25))


def test_winograd_counts_as_the_direct_sum() -> None:
    net = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, padding_mode="replicate"))
    x = torch.randn(1, 16, 40, 40)
    flop = []
    for _ in range(2):
        with torch.inference_mode(), Counter() as counter:
            net(x)
        flop.append(counter.work.flop)
        use_winograd(net)
    assert flop[0] == 2 * 2 * 9 * 16 * 16 * 1600
    assert flop[1] == flop[0]


def test_the_roofline_takes_what_lasts_longer_of_each_operation() -> None:
    roof = Roofline(flops=100.0, bandwidth=10.0)
    assert roof.seconds(Work(((1000, 10), (100, 50)))) == pytest.approx(10 + 5)
