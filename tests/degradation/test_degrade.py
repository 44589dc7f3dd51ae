"""The degradation of pixels: its steps, and independence of the batch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lpnsr.degradation import PRESETS, degrade
from lpnsr.degradation.degrade import add_noise, blur, degrade_one, jpeg, resize
from lpnsr.degradation.plan import Kernel, Noise, Plan, Resize
from lpnsr.errors import InputError


def noisy(x: torch.Tensor, noise: Noise) -> torch.Tensor:
    return torch.from_numpy(add_noise(x.numpy(), noise, torch.Generator().manual_seed(0)))


def scene(size: int = 64, batch: int = 1) -> torch.Tensor:
    return F.interpolate(
        torch.rand(batch, 3, 8, 8, generator=torch.Generator().manual_seed(3)), size, mode="bicubic"
    ).clamp(0, 1)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_sample_does_not_depend_on_its_batch(preset: str) -> None:
    hr, seeds = scene(batch=7), [5, 6, 7, 8, 9, 10, 2**62]
    together = degrade(hr, PRESETS[preset], seeds)
    assert together.shape == (7, 3, 16, 16)
    torch.testing.assert_close(together * 255, (together * 255).round())
    alone = [degrade(hr[i : i + 1], PRESETS[preset], [seed]) for i, seed in enumerate(seeds)]
    assert torch.equal(together, torch.cat(alone))
    order = [3, 1, 6, 0, 5, 2, 4]
    assert torch.equal(together[order], degrade(hr[order], PRESETS[preset], [seeds[i] for i in order]))


@pytest.mark.parametrize(
    "kernel", [Kernel("aniso", 7, 0.9, 2.0, 0.6), Kernel("aniso", 19, 0.9, 3.0, 0.6), Kernel("sinc", 19, cutoff=1.1)]
)
def test_blur_is_a_correlation_with_reflected_borders(kernel: Kernel) -> None:
    x, taps, pad = scene(32), torch.from_numpy(kernel.taps()), kernel.size // 2
    padded = F.pad(x, (pad,) * 4, mode="reflect")
    expected = F.conv2d(padded, taps[None, None].expand(3, 1, -1, -1), groups=3)[0]
    assert (torch.from_numpy(blur(x[0].numpy(), kernel)) - expected).abs().max() * 255 < 0.1


@pytest.mark.parametrize("gaussian", [True, False])
def test_gray_noise_is_the_same_in_every_channel_of_a_coloured_image(gaussian: bool) -> None:
    ramp = torch.linspace(0.3, 0.7, 64 * 64).reshape(64, 64)
    x = torch.stack([ramp, ramp.flip(-1), 1 - ramp])
    strength = 10 / 255 if gaussian else 1.0
    noise, colour = (noisy(x, Noise(gaussian, strength, gray)) - x for gray in (1, 0))
    assert noise.std() > 0.01
    assert x.std(0).mean() > 0.01
    torch.testing.assert_close(noise[0], noise[2], atol=1e-5, rtol=0)
    correlation = torch.corrcoef(colour.flatten(1))
    assert correlation.fill_diagonal_(0).abs().max() < 0.1


def test_gaussian_noise_has_its_level_and_no_bias() -> None:
    x = torch.full((3, 128, 128), 0.5)
    noise = noisy(x, Noise(True, 20 / 255, False)) - x
    assert float(noise.std()) * 255 == pytest.approx(20, rel=0.03)
    assert float(noise.mean()) * 255 == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("noise", [Noise(True, 0.1, False), Noise(True, 0.1, True), Noise(False, 3.0, False)])
def test_noise_leaves_no_value_out_of_range(noise: Noise) -> None:
    x = noisy(scene()[0].mul(4).sub(1.5).clamp(0, 1), noise)
    assert x.min() == 0
    assert x.max() == 1


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("strength", [0.5, 1.5])
def test_poisson_noise_keeps_brightness_and_grows_with_its_root(gray: bool, strength: float) -> None:
    """var = strength^2 v / N; these images have all 256 levels, so N = 256."""
    x = torch.linspace(0, 1, 256).repeat(3, 512, 1)
    noise = noisy(x, Noise(False, strength, gray)) - x
    for column in (40, 100, 150):
        v = column / 255
        assert float(noise[0, :, column].mean()) == pytest.approx(0, abs=4 * strength * (v / 256 / 512) ** 0.5)
        assert float(noise[0, :, column].std()) == pytest.approx(strength * (v / 256) ** 0.5, rel=0.15)


def test_poisson_noise_of_few_levels_is_coarser() -> None:
    x = torch.full((3, 64, 64), 0.4)
    x[:, 0, 0] = 0.2
    noise = noisy(x, Noise(False, 0.1, False)) - x
    assert float(noise.std()) == pytest.approx(0.1 * (0.4 / 2) ** 0.5, rel=0.05)  # two levels: N = 2


def test_jpeg_is_lossy_and_better_at_higher_quality() -> None:
    x = (scene() + 0.1 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))).clamp(0, 1)[0].numpy()
    errors = [float(np.abs(jpeg(x, q) - x).mean()) for q in (10, 50, 95)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] > 0


def test_jpeg_keeps_the_order_of_the_channels() -> None:
    x = np.broadcast_to(np.array([0.9, 0.5, 0.1], np.float32)[:, None, None], (3, 20, 30))
    np.testing.assert_allclose(jpeg(x, 95), x, atol=3 / 255)


def test_jpeg_goes_before_or_after_the_last_resize() -> None:
    x, small = scene()[0].numpy(), Resize((16, 16), "area", False)
    first, last = (degrade_one(scene()[0], Plan(0, (), small, None, 50, before)).numpy() for before in (True, False))
    assert np.array_equal(first, resize(jpeg(x, 50), small))
    assert np.array_equal(last, jpeg(resize(x, small), 50))


def test_another_seed_is_another_image() -> None:
    hr = scene()
    assert not torch.equal(degrade(hr, PRESETS["real"], [1]), degrade(hr, PRESETS["real"], [2]))


def test_classic_is_antialiased_bicubic() -> None:
    hr = scene()
    expected = F.interpolate(hr, scale_factor=0.25, mode="bicubic", antialias=True).clamp(0, 1)
    assert (degrade(hr, PRESETS["classic"], [0]) - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_the_result_is_rounded_not_truncated() -> None:
    hr = torch.full((1, 3, 8, 8), 100.7 / 255)
    assert torch.equal((degrade(hr, PRESETS["classic"], [0]) * 255).round(), torch.full((1, 3, 2, 2), 101.0))


def test_brightness_is_kept() -> None:
    hr = scene().mul(0.4).add(0.3)
    lr = degrade(hr.expand(200, -1, -1, -1), PRESETS["real"], range(200))
    assert float(lr.mean()) == pytest.approx(float(hr.mean()), abs=0.006)


def test_the_input_is_left_as_it_was() -> None:
    hr = scene(batch=4)
    before = hr.clone()
    degrade(hr, PRESETS["real"], range(4))
    assert torch.equal(hr, before)


def test_any_memory_layout() -> None:
    hr = scene(batch=2)
    seeds = [0, 1]
    strided = hr.to(memory_format=torch.channels_last)
    assert torch.equal(degrade(strided, PRESETS["real"], seeds), degrade(hr, PRESETS["real"], seeds))


def test_threads_change_nothing() -> None:
    hr, threads, cv2_threads = scene(256, 2), torch.get_num_threads(), cv2.getNumThreads()
    results = []
    for count in (1, 2):
        torch.set_num_threads(count)
        cv2.setNumThreads(count)
        results.append(degrade(hr, PRESETS["real"], [3, 4]))
    torch.set_num_threads(threads)
    cv2.setNumThreads(cv2_threads)
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("hr", "seeds"),
    [
        (torch.rand(1, 3, 30, 32), [0]),
        (torch.rand(1, 1, 32, 32), [0]),
        (torch.rand(2, 3, 32, 32), [0]),
        (torch.rand(0, 3, 32, 32), []),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), [0]),
    ],
    ids=["size", "gray", "seeds", "nothing", "8 bit"],
)
def test_wrong_input_is_refused(hr: torch.Tensor, seeds: list[int]) -> None:
    with pytest.raises(InputError):
        degrade(hr, PRESETS["real"], seeds)
