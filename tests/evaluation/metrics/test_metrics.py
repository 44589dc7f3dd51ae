"""Metrics: equal to the reference implementations on natural images, and clear about images that have no score."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lpnsr.errors import ConfigError
from lpnsr.evaluation.errors import MetricUnavailable, UnscorableImage
from lpnsr.evaluation.metrics import DEFAULT_METRICS, Metric, metrics_for
from lpnsr.evaluation.metrics.fidelity import PROTOCOLS
from lpnsr.evaluation.metrics.niqe import _half
from support.evaluation_references import GOLDEN, pairs, references

PAIRS = pairs()
CASES = [(name, key) for name, values in GOLDEN.items() for key in values]


def metric(name: str, protocol: str = "resshift", **weights: Path) -> Metric:
    return metrics_for([name], protocol, weights=weights)[0]


@pytest.mark.parametrize(("name", "key"), CASES)
def test_reference_implementations_gave_the_same(name: str, key: str) -> None:
    protocol, chosen = key.split("/")
    assert metric(chosen, protocol)(*PAIRS[name]) == pytest.approx(GOLDEN[name][key], rel=1e-4)


@pytest.mark.parametrize("name", list(GOLDEN))
def test_reference_implementations_give_the_same(name: str) -> None:
    for module in ("pyiqa", "lpips", "skimage"):
        pytest.importorskip(module)
    for key, value in references(*PAIRS[name]).items():
        protocol, chosen = key.split("/")
        assert metric(chosen, protocol)(*PAIRS[name]) == pytest.approx(value, rel=1e-4)


def test_niqe_of_a_flat_sky_counts_as_published() -> None:
    """Blocks with nothing but white have no statistics, yet count in part. The number is pyiqa 0.1.16's."""
    hr = PAIRS["coast"][1].clone()
    hr[:, :100] = 1.0
    wide = torch.cat([hr, PAIRS["pets"][1]], 2)
    assert metric("niqe")(wide) == pytest.approx(10.6662060, rel=1e-4)


def test_half_size_is_matlabs() -> None:
    """A step between rows 7 and 8: the cubic at 1/4, 3/4, 5/4 and 7/4 is 111, 29, -9 and -3 of 256."""
    plane = torch.zeros(16, 8, dtype=torch.float64)
    plane[8:] = 1
    assert (_half(plane)[:, 0] * 256).tolist() == pytest.approx([0, 0, -3, 17, 239, 259, 256, 256], abs=1e-9)


def test_psnr_and_ssim_of_known_errors() -> None:
    hr = torch.full((3, 40, 40), 100 / 255)
    sr = hr + 10 / 255
    assert metric("psnr", "rgb")(sr, hr) == pytest.approx(20 * torch.tensor(25.5).log10().item(), abs=1e-3)
    means = (2 * 100 * 110 + 6.5025) / (100**2 + 110**2 + 6.5025)
    assert metric("ssim", "rgb")(sr, hr) == pytest.approx(means, abs=1e-5)
    sr[:, :4], sr[:, :, -4:] = 1, 0
    assert metric("psnr", "rgb")(sr, hr) == pytest.approx(20 * torch.tensor(25.5).log10().item(), abs=1e-3)  # border
    assert metric("psnr", "rgb-noborder")(sr, hr) < 20


def test_each_metric_tells_what_it_is() -> None:
    for m in metrics_for(DEFAULT_METRICS):
        assert m.protocol
        assert m.version
    assert "4 px border" in metric("psnr").protocol
    assert "no border" in metric("psnr", "y-noborder").protocol
    assert len({str(p) for p in PROTOCOLS.values()}) == len(PROTOCOLS)
    assert [m.higher_is_better for m in metrics_for(DEFAULT_METRICS)] == [True, True, False, False]
    assert [m.needs_reference for m in metrics_for(DEFAULT_METRICS)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("name", "sr", "hr", "reason"),
    [
        ("niqe", torch.full((3, 200, 200), 0.5), None, "flat"),
        ("niqe", torch.rand(3, 95, 300), None, "96 px"),
        ("ssim", torch.rand(3, 18, 40), torch.rand(3, 18, 40), "40 x 18 px.* 19 px"),
        ("psnr", torch.rand(3, 8, 8), torch.rand(3, 8, 8), "9 px"),
        ("lpips", torch.rand(3, 31, 64), torch.rand(3, 31, 64), "32 px"),
        ("lpips", torch.rand(3, 64, 64), torch.rand(3, 64, 60), "64 x 64 px and the reference 60 x 64 px"),
        ("psnr", torch.full((3, 20, 20), 0.5), torch.full((3, 20, 20), 0.5), "equals the reference"),
        ("psnr", torch.full((3, 20, 20), torch.nan), torch.full((3, 20, 20), 0.5), "not finite"),
        ("psnr", torch.rand(3, 20, 20), None, "there is none"),
    ],
)
def test_images_without_a_score(name: str, sr: Tensor, hr: Tensor | None, reason: str) -> None:
    with pytest.raises(UnscorableImage, match=reason):
        metric(name)(sr, hr)


def test_flat_images_that_do_have_a_score() -> None:
    sr, hr = torch.full((3, 64, 64), 0.5), torch.full((3, 64, 64), 0.25)
    for name in ("psnr", "ssim", "lpips"):
        assert torch.tensor(metric(name)(sr, hr)).isfinite()


def test_wrong_names_say_what_is_known() -> None:
    with pytest.raises(ConfigError, match=r"'pnsr'.*psnr, ssim"):
        metrics_for(["psnr", "pnsr"])
    with pytest.raises(ConfigError, match=r"'y'.*bicubic-y"):
        metrics_for(["psnr"], "y")


@pytest.mark.parametrize("name", ["lpips-alex", "lpips-vgg", "dists", "fid", "pi", "clipiqa", "musiq", "maniqa"])
def test_without_pyiqa_the_pip_line_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(MetricUnavailable, match=r"pip install 'lpnsr\[evaluate\]'"):
        metric(name)


def test_r50_needs_its_weights(tmp_path: Path) -> None:
    with pytest.raises(MetricUnavailable, match="--weights r50=FILE"):
        metric("r50")
    save_file({"other": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(MetricUnavailable, match=r"has no conv0\.weight"):
        metric("r50", r50=tmp_path / "w.safetensors")


@pytest.mark.shared
def test_r50_on_natural_images(shared: Path) -> None:
    r50 = metric("r50", r50=shared / "judge" / "resnet50v2_trunk.safetensors")
    assert r50(*PAIRS["coast"]) == pytest.approx(0.0736689, rel=1e-4)
    assert r50(*PAIRS["pets"]) == pytest.approx(0.0531205, rel=1e-4)
    assert r50(PAIRS["pets"][1], PAIRS["pets"][1]) == 0
