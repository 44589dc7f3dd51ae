"""Losses and discriminators: against published values, and seeing what they are there to see."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lpnsr.errors import CheckpointError, TrainingError
from lpnsr.networks.discriminator import FeatureDiscriminator, PatchDiscriminator, SpectralNorm, UNetDiscriminator
from lpnsr.networks.perceptual import LPIPS
from lpnsr.training.data.draws import Draws, Share
from lpnsr.training.losses import LOSSES, Comparison, Outcome
from lpnsr.training.losses.adversarial import hinge_discriminator, hinge_generator
from lpnsr.training.losses.image import excess, lattice, window_statistics
from lpnsr.training.losses.view import View


def test_lpips_matches_the_published_example() -> None:
    generator = torch.Generator().manual_seed(42)
    a, b = (torch.rand(2, 3, 100, 100, generator=generator) * 2 - 1 for _ in range(2))
    torch.testing.assert_close(LPIPS()(a, b), torch.tensor([0.1024, 0.0938]), atol=1e-4, rtol=0)


def test_lpips_on_vgg_takes_a_classifier_and_its_heads(tmp_path: Path) -> None:
    widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    trunk = {"classifier.0.weight": torch.zeros(4, 4)}
    for place, inputs, outputs in zip(places, [3, *widths], widths, strict=False):
        trunk[f"features.{place}.weight"] = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
        trunk[f"features.{place}.bias"] = torch.zeros(outputs)
    heads = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate([64, 128, 256, 512, 512])}
    save_file(trunk, tmp_path / "trunk.safetensors")
    torch.save(heads, tmp_path / "vgg.pth")
    lpips = LPIPS("vgg", tmp_path / "trunk.safetensors", tmp_path / "vgg.pth")
    a, b = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    assert (lpips(a, b) > 0).all()
    assert (lpips(a, a) == 0).all()
    assert [m.shape[1:] for m in lpips.taps(a)][-1] == (512, 4, 4)
    del trunk["features.0.bias"]
    save_file(trunk, tmp_path / "trunk.safetensors")
    with pytest.raises(CheckpointError, match=r"0\.bias"):
        LPIPS("vgg", tmp_path / "trunk.safetensors", tmp_path / "vgg.pth")


def test_hinge_losses_are_smallest_where_they_should_be() -> None:
    high, low = [torch.full((1, 1, 4, 4), 2.0)], [torch.full((1, 1, 4, 4), -2.0)]
    assert float(hinge_discriminator(high, low)) == 0
    assert float(hinge_discriminator(low, high)) == 6
    assert hinge_generator(high) < hinge_generator(low)


def test_a_view_is_the_same_for_both_images_and_differs_between_draws() -> None:
    image = torch.rand(1, 3, 128, 128)
    generator = torch.Generator().manual_seed(0)
    views = [View(generator) for _ in range(6)]
    assert all(torch.equal(view(image), view(image.clone())) for view in views)
    assert len({(tuple(v(image).shape), float(v(image)[0, 0, 0, 0])) for v in views}) > 3
    assert all(side % 16 == 0 for v in views for side in v(image).shape[-2:])


@pytest.mark.parametrize("side", [64, 128, 192, 256])
def test_every_view_suits_the_discriminators(side: int) -> None:
    generator, image = torch.Generator().manual_seed(1), torch.rand(1, 3, side, side)
    judge = UNetDiscriminator(4)
    for _ in range(8):
        view = View(generator)(image)
        assert judge(view, [])[0].shape[-1] == view.shape[-1] // 2


def test_spectral_norm_divides_by_the_largest_singular_value() -> None:
    weight = torch.randn(8, 4, 3, 3)
    norm = SpectralNorm(weight).train()
    for _ in range(50):
        normalised = norm(weight)
    assert float(torch.linalg.matrix_norm(normalised.flatten(1), 2)) == pytest.approx(1, abs=1e-3)


def test_discriminators_judge_places() -> None:
    image, lpips = torch.rand(2, 3, 64, 48), LPIPS()
    assert UNetDiscriminator(8)(image)[0].shape == (2, 1, 32, 24)
    assert PatchDiscriminator(8)(image)[0].shape[:2] == (2, 1)
    logits = FeatureDiscriminator(lpips.channels[:2], 8)(image, lpips.taps(image)[:2])
    assert [m.shape[1] for m in logits] == [1, 1, 1]


def test_lattice_sees_a_grid_and_not_a_detail() -> None:
    torch.manual_seed(0)
    hr = torch.rand(2, 3, 128, 128)
    rows = torch.tensor([0.02, 0.02, -0.02, -0.02]).repeat(32)
    grid = torch.zeros_like(hr) + rows[:, None]
    detail = torch.randn_like(hr) * grid.std()
    assert lattice(hr, hr, 4) == 0
    assert lattice(hr + grid, hr, 4) > 3 * lattice(hr + detail, hr, 4)
    assert lattice(hr + grid, hr, 8) > 3 * lattice(hr + detail, hr, 8)


def test_excess_sees_invented_detail_and_no_lack_of_it() -> None:
    torch.manual_seed(0)
    flat = torch.linspace(0.2, 0.8, 64).expand(2, 3, 64, 64)
    pattern = 0.02 * torch.randn(2, 3, 64, 64)
    assert excess(flat + pattern, flat) > 0.01
    assert excess(flat, flat + pattern) == 0
    assert excess(flat + 0.1, flat) < 5e-4  # a wrong level is the pixel loss's business
    half = pattern * (torch.arange(64) < 32)
    assert 0.5 < excess(flat + pattern, flat + half) / excess(flat + pattern, flat) < 0.7
    assert excess(flat + half, flat + half.flip(-1)) > 0.4 * excess(flat + pattern, flat)  # the places count


def test_statistics_see_texture_wherever_it_lies() -> None:
    torch.manual_seed(0)
    real = torch.randn(1, 4, 32, 32)
    elsewhere = real.roll((3, 5), (2, 3))
    assert window_statistics([real], [real]) == 0
    assert window_statistics([0.2 * real], [real]) > 3 * window_statistics([elsewhere], [real])
    assert window_statistics([real + 1], [real]) > 3 * window_statistics([elsewhere], [real])


@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].looks_at == "image"])
def test_every_loss_on_the_image_teaches_it(name: str) -> None:
    torch.manual_seed(0)
    lpips, target = LPIPS(), torch.rand(2, 3, 64, 64)
    noise = torch.randn(2, 3, 64, 64).requires_grad_()
    outcome = Outcome(target, lambda: target + 0.2 * noise)
    kind = LOSSES[name]
    loss = kind(kind.Recipe.parse({"name": name}, "losses"), lpips, 3)
    loss(Comparison(outcome, lpips, View(torch.Generator().manual_seed(0)))).backward()
    assert noise.grad is not None
    assert noise.grad.abs().sum() > 0


def test_draws_are_shared_out() -> None:
    whole, parts = Draws(1, 2), [Draws(1, 2, Share(rank, 2)) for rank in (0, 1)]
    like = torch.zeros(4, 2, 3, 3)
    drawn = whole.normal(like), whole.uniform(4), whole.integers(9, 4), whole.chance()
    halves = [(p.normal(like[:2]), p.uniform(2), p.integers(9, 2), p.chance()) for p in parts]
    for position in range(3):
        assert torch.equal(drawn[position], torch.cat([half[position] for half in halves]))
    assert {drawn[3]} == {half[3] for half in halves}
    assert not torch.equal(Draws(1, 3).normal(like), drawn[0])
    with pytest.raises(TrainingError, match="5 cannot be divided among 2"):
        Share(0, 2).rows(5)
