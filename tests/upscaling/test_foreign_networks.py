"""Networks of other projects, alone and as the start of a chain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lpnsr import Upscaler
from lpnsr.checkpoints import load_file, save_folder
from lpnsr.errors import CheckpointError, ConfigError
from lpnsr.imaging import Photo
from lpnsr.upscaling.memory import bytes_per_pixel
from support.foreign import network_file
from support.tiny_model import GUIDED, NETWORKS, tiny_upscaler


@pytest.fixture
def two(tmp_path: Path) -> Upscaler:
    return Upscaler.from_pretrained(network_file(tmp_path / "x2.pth", 2), device="cpu")


@torch.no_grad()
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_file_is_a_model_of_its_own_scale(tmp_path: Path, scale: int) -> None:
    file = network_file(tmp_path / "net.pth", scale)
    up = Upscaler.from_pretrained(str(file), device="cpu")
    lr = torch.rand(3, 40, 48)
    result = up(lr, colour_fix="none")
    assert (up.scale, up.spec.scale, up.spec.steps, up.spec.name) == (scale, scale, 0, "net.pth")
    net = load_file(file).parts["upsampler"]
    torch.testing.assert_close(result, net(lr[None])[0].clamp(0, 1))
    torch.testing.assert_close(up(lr, colour_fix="none", tile=24), result, rtol=0, atol=1e-5)
    assert up(lr, scale=3).shape == (3, 120, 144)
    assert up(lr, max_side=30).shape == (3, 25, 30)


def test_depth_alpha_and_colours_are_kept(two: Upscaler) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**16, (20, 24, 3), dtype=np.uint16)
    result = two.upscale_photo(Photo(pixels, np.full((20, 24), 2**15, np.uint16)))
    assert (result.pixels.dtype, result.pixels.shape, result.alpha.shape) == (np.uint16, (40, 48, 3), (40, 48))
    gray = two.upscale_photo(Photo(np.repeat(pixels[..., :1], 3, 2))).pixels
    assert (gray[..., 0] == gray[..., 2]).all()
    flat = two.upscale_photo(Photo(np.full((20, 24, 3), (10, 120, 230), np.uint8)), tile=16).pixels
    assert np.abs(flat.mean((0, 1)) - (10, 120, 230)).max() < 3


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"steps": 4}, "steps = 4"),
        ({"noise": "mode", "seed": 3}, "noise = mode, seed = 3"),
        ({"fidelity": 0.0}, "fidelity = 0.0"),
        ({"start": "bicubic"}, "start = bicubic"),
    ],
)
def test_options_of_a_chain_are_refused(two: Upscaler, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named}: x2.pth is a network without a chain"):
        two(torch.rand(3, 16, 16), **options)
    two(torch.rand(3, 16, 16), steps=0)


def test_it_can_be_saved_as_a_folder(two: Upscaler, tmp_path: Path) -> None:
    two.save_pretrained(tmp_path / "folder")
    again = Upscaler.from_pretrained(tmp_path / "folder", device="cpu")
    assert (again.spec.scale, again.spec.steps) == (2, 0)
    lr = torch.rand(3, 16, 16)
    assert torch.equal(again(lr), two(lr))


@pytest.fixture(params=[NETWORKS, GUIDED], ids=["plain", "guided"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    tiny = tiny_upscaler(networks=request.param)
    save_folder(tmp_path / "tiny", tiny.spec, tiny.parts)
    return tmp_path / "tiny"


@torch.no_grad()
def test_a_chain_starts_from_a_file(model: Path, tmp_path: Path) -> None:
    file = network_file(tmp_path / "x4.pth", 4)
    up, usual = (Upscaler.from_pretrained(model, start=start, device="cpu") for start in (file, None))
    assert (up.spec.name, usual.spec.name) == ("tiny + x4.pth", "tiny")
    lr = torch.rand(3, 20, 24)
    start = up(lr, steps=0, colour_fix="none")
    torch.testing.assert_close(start, load_file(file).parts["upsampler"](lr[None])[0].clamp(0, 1))
    result = up(lr)
    assert (result - start).abs().max() > 0.01
    assert (result - usual(lr)).abs().max() > 0.01
    assert up._planner.pixel_bytes >= bytes_per_pixel(usual.restorer)
    up.save_pretrained(tmp_path / "both")
    assert torch.equal(Upscaler.from_pretrained(tmp_path / "both", device="cpu")(lr), result)


def test_a_start_has_the_scale_of_the_chain(model: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"x2\.pth: the Compact model enlarges 2x; 4x is needed"):
        Upscaler.from_pretrained(model, start=network_file(tmp_path / "x2.pth"), device="cpu")
    with pytest.raises(CheckpointError, match=r"no file nowhere\.pth, here or in "):
        Upscaler.from_pretrained(model, start="nowhere.pth", device="cpu")
    with pytest.raises(ConfigError, match=r"x2\.pth has no chain"):
        Upscaler.from_pretrained(tmp_path / "x2.pth", start=tmp_path / "x2.pth", device="cpu")


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: spandrel recognises no architecture in these 1 tensors"):
        Upscaler.from_pretrained(tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="maps 4 channels to 4"):
        Upscaler.from_pretrained(network_file(tmp_path / "rgba.pth", 2, num_in_ch=4, num_out_ch=4))
    with pytest.raises(ConfigError, match=r"runtime onnx is for model folders, and .*x2\.pth is a file"):
        Upscaler.from_pretrained(network_file(tmp_path / "x2.pth"), runtime="onnx")


def test_memory_of_a_network_that_needs_values(two: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = bytes_per_pixel(two.restorer)
    net, call = two.restorer.upsampler, type(two.restorer.upsampler).forward

    def looks(self: Any, lr: torch.Tensor) -> torch.Tensor:
        assert float(lr.mean()) >= 0  # what the meta device cannot tell
        return call(self, lr)

    monkeypatch.setattr(type(net), "forward", looks)
    assert bytes_per_pixel(two.restorer) == pytest.approx(counted, rel=0.2)
