"""The degradation: kernels against their formulas, statistics, independence of the batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lpnsr.degradation import PRESETS, degrade, kernels
from lpnsr.degradation.degrade import add_noise, jpeg, random_kernel, random_resize
from lpnsr.degradation.recipe import BlurRecipe, NoiseRecipe, ResizeRecipe
from lpnsr.errors import InputError


def scene(size: int = 64, batch: int = 1) -> torch.Tensor:
    return F.interpolate(
        torch.rand(batch, 3, 8, 8, generator=torch.Generator().manual_seed(3)), size, mode="bicubic"
    ).clamp(0, 1)


def test_gaussian_kernel_has_its_moments() -> None:
    kernel = kernels.gaussian(41, 4.0, 2.0, math.pi / 6).double()
    axis = torch.arange(41, dtype=torch.float64) - 20
    var_x, var_y = (kernel.sum(0) * axis**2).sum(), (kernel.sum(1) * axis**2).sum()
    cos2 = math.cos(math.pi / 6) ** 2
    assert float(var_x) == pytest.approx(16 * cos2 + 4 * (1 - cos2), rel=0.01)
    assert float(var_y) == pytest.approx(16 * (1 - cos2) + 4 * cos2, rel=0.01)


def test_generalised_gaussian_and_plateau_follow_their_formulas() -> None:
    for make, law in (
        (kernels.gaussian, lambda q, b: math.exp(-0.5 * q**b)),
        (kernels.plateau, lambda q, b: 1 / (1 + q**b)),
    ):
        kernel = make(9, 1.5, 1.5, 0.0, 1.7)
        ratio = float(kernel[4, 6] / kernel[4, 4])
        assert ratio == pytest.approx(law((2 / 1.5) ** 2, 1.7), rel=1e-5)


def test_sinc_passes_below_its_cutoff_and_stops_above() -> None:
    kernel = kernels.sinc(21, 1.5)
    spectrum = torch.fft.fft2(kernel, s=(256, 256)).abs()
    frequency = 2 * math.pi * torch.arange(128) / 256
    assert spectrum[0, :128][frequency < 1.1].min() > 0.8
    assert spectrum[0, :128][frequency > 2.0].max() < 0.15


def test_random_kernels_sum_to_one_and_are_odd_within_range() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_kernel(BlurRecipe(), rng) for _ in range(300)]
    assert {k.shape[0] for k in drawn} == set(range(3, 20, 2))
    assert all(float(k.sum()) == pytest.approx(1, abs=1e-5) for k in drawn)
    assert sum(bool((k < 0).any()) for k in drawn) == pytest.approx(30, abs=18)  # only a sinc has negative taps


def test_resize_follows_its_odds_and_range() -> None:
    rng = np.random.default_rng(1)
    sizes = np.array([random_resize(scene(32), ResizeRecipe(), (32, 32), rng).shape[-1] for _ in range(400)])
    assert (sizes < 32).mean() == pytest.approx(0.7, abs=0.08)
    assert sizes.min() >= 5
    assert sizes.max() <= 48


def test_gray_noise_is_the_same_in_every_channel_of_a_coloured_image() -> None:
    ramp = torch.linspace(0.3, 0.7, 64 * 64).reshape(1, 1, 64, 64)
    x = torch.cat([ramp, ramp.flip(-1), 1 - ramp], 1)
    for gaussian in (1.0, 0.0):
        recipe = NoiseRecipe(gaussian_probability=gaussian, gray_probability=1.0, sigma=(10, 10), poisson_scale=(1, 1))
        noise = add_noise(x, recipe, np.random.default_rng(0), torch.Generator().manual_seed(0)) - x
        assert noise.std() > 0.01
        assert x.std(1).mean() > 0.01
        torch.testing.assert_close(noise[:, 0], noise[:, 2], atol=1e-5, rtol=0)


def test_noise_has_its_level_and_no_bias() -> None:
    x = torch.full((1, 3, 128, 128), 0.5)
    recipe = NoiseRecipe(gaussian_probability=1.0, gray_probability=0.0, sigma=(20, 20))
    noise = add_noise(x, recipe, np.random.default_rng(0), torch.Generator().manual_seed(0)) - x
    assert float(noise.std()) * 255 == pytest.approx(20, rel=0.03)
    assert float(noise.mean()) * 255 == pytest.approx(0, abs=0.3)


def test_jpeg_is_lossy_and_better_at_higher_quality() -> None:
    x = (scene() + 0.1 * torch.randn(1, 3, 64, 64)).clamp(0, 1)
    errors = [float((jpeg(x, q) - x).abs().mean()) for q in (10, 50, 95)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] > 0


@pytest.mark.parametrize("preset", PRESETS)
def test_a_sample_does_not_depend_on_its_batch(preset: str) -> None:
    hr = scene(batch=3)
    together = degrade(hr, PRESETS[preset], [5, 6, 7])
    assert together.shape == (3, 3, 16, 16)
    torch.testing.assert_close(together[1:2], degrade(hr[1:2], PRESETS[preset], [6]), rtol=0, atol=0)
    torch.testing.assert_close(together * 255, (together * 255).round())


def test_another_seed_is_another_image() -> None:
    hr = scene()
    assert not torch.equal(degrade(hr, PRESETS["real"], [1]), degrade(hr, PRESETS["real"], [2]))


def test_classic_is_antialiased_bicubic() -> None:
    hr = scene()
    expected = F.interpolate(hr, scale_factor=0.25, mode="bicubic", antialias=True).clamp(0, 1)
    assert (degrade(hr, PRESETS["classic"], [0]) - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_brightness_is_kept() -> None:
    hr = scene(batch=1).mul(0.4).add(0.3)
    means = [float(degrade(hr, PRESETS["real"], [seed]).mean()) for seed in range(40)]
    assert np.mean(means) == pytest.approx(float(hr.mean()), abs=0.01)


@pytest.mark.parametrize(("shape", "seeds"), [((1, 3, 30, 32), [0]), ((1, 1, 32, 32), [0]), ((2, 3, 32, 32), [0])])
def test_wrong_input_is_refused(shape: tuple[int, ...], seeds: list[int]) -> None:
    with pytest.raises(InputError):
        degrade(torch.rand(shape), PRESETS["real"], seeds)
