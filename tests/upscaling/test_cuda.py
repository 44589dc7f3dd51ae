"""On an NVIDIA GPU: the bundled models against the processor, tiles, memory, the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpnsr.system import memory
from lpnsr.upscaling.upscaler import Upscaler
from support.repository import REPOSITORY
from support.tiny_model import tiny_upscaler
from support.upscale_command import run

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    with Image.open(REPOSITORY / "examples" / "dog.png") as image:
        return np.asarray(image.convert("RGB").crop((60, 40, 124, 88)), np.float32) / 255


@pytest.mark.parametrize("name", ["lite", "base"])
def test_a_bundled_model_makes_the_picture_of_the_processor(name: str, photo: np.ndarray, gpu: torch.device) -> None:
    expected = Upscaler.from_pretrained(name, device="cpu", dtype="float32")(photo)
    found = Upscaler.from_pretrained(name, device=str(gpu), dtype="float32")(photo)
    assert np.abs(found - expected).max() < 2 / 255  # TF32 may be on in convolutions
    assert np.abs(found - expected).mean() < 0.1 / 255


@pytest.mark.parametrize("name", ["lite", "base"])
def test_bfloat16_stays_within_a_level(name: str, photo: np.ndarray, gpu: torch.device) -> None:
    up = Upscaler.from_pretrained(name, device=str(gpu), dtype="bfloat16")
    expected = Upscaler.from_pretrained(name, device=str(gpu), dtype="float32")(photo)
    assert np.abs(up(photo) - expected).mean() < 1.5 / 255


def test_a_seed_means_the_same_noise_on_every_device(photo: np.ndarray, gpu: torch.device) -> None:
    up = Upscaler.from_pretrained("lite", device=str(gpu), dtype="float32")
    same, other = up(photo, noise="gaussian", seed=1), up(photo, noise="gaussian", seed=2)
    on_cpu = Upscaler.from_pretrained("lite", device="cpu", dtype="float32")(photo, noise="gaussian", seed=1)
    assert np.abs(same - on_cpu).mean() < 0.2 / 255
    assert np.abs(same - other).mean() > 1 / 255


def test_tiles_in_batches_make_one_picture(photo: np.ndarray, gpu: torch.device) -> None:
    up = tiny_upscaler()
    image = np.tile(photo, (2, 3, 1))
    expected = up(image, tile=64)
    found = Upscaler(up.spec, up.restorer, str(gpu), "float32")(image, tile=64)
    assert np.abs(found - expected).max() < 1 / 255


def test_the_chain_does_not_wait_for_the_device(real_gpu: torch.device) -> None:
    up = Upscaler.from_pretrained("lite", device=str(real_gpu))
    lr = torch.rand(1, 3, 64, 64, device=real_gpu)
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        _, guide = up.restorer.start(lr)
        noise = {step: torch.randn_like(guide.y0) for step in range(up.restorer.schedule.steps + 1)}
        up.restorer.sample(guide, lambda step, shape: noise[step])
        torch.cuda.set_sync_debug_mode("error")
        try:
            up.restorer.sample(guide, lambda step, shape: noise[step])
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_the_memory_that_was_planned_is_enough(real_gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    up = Upscaler.from_pretrained("lite", device=str(real_gpu))
    limit = 2 << 30
    monkeypatch.setattr(memory, "available_memory", lambda device: limit)
    image = np.random.default_rng(0).random((700, 900, 3)).astype(np.float32)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    assert up(image).shape == (2800, 3600, 3)
    assert torch.cuda.max_memory_allocated() - before < limit


@pytest.mark.parametrize("part", ["denoiser", "noise_predictor"])
def test_compiled_networks_compute_the_same(part: str, gpu: torch.device) -> None:
    restorer = tiny_upscaler().restorer.to(gpu)
    z, condition = (torch.randn(1, channels, 24, 32, device=gpu) for channels in (4, 7))
    t = torch.tensor([2], device=gpu)
    net = getattr(restorer, part)
    inputs = (z, t, condition) if part == "denoiser" else (z, z, condition, t)
    with torch.inference_mode():
        expected = net(*inputs)
        backend = "inductor" if gpu.type == "cuda" else "aot_eager"
        found = torch.compile(net, fullgraph=True, dynamic=False, backend=backend)(*inputs)
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-2)


def test_the_command(photo: np.ndarray, gpu: torch.device, tmp_path: Path) -> None:
    Image.fromarray(np.uint8(photo * 255)).save(tmp_path / "a.png")
    run(tmp_path / "a.png", "-o", tmp_path / "b.png", "-n", "lite", "--device", gpu)
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (256, 192)
