"""A chain guided by its pre-upsampler: preconditioning, noise by Eq. 9, features, results as differences."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lpnsr import Upscaler
from lpnsr.checkpoints import check_parts
from lpnsr.diffusion import NoiseField, Schedule, StepState, linear_estimate, q_sample, uncertainty
from lpnsr.errors import CheckpointError, ConfigError
from lpnsr.networks import Guide, RRDBNet, build
from lpnsr.upscaling.restorer import Restorer
from support.tiny_model import CHAIN, GUIDED, NETWORKS, tiny_upscaler

SCHEDULE = Schedule.geometric(steps=4, kappa=0.6)


@pytest.mark.parametrize("t", range(1, 5))
def test_the_linear_estimate_is_the_best_and_says_what_it_leaves(t: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, y0, noise = (torch.randn(200_000, generator=generator, dtype=torch.float64) for _ in range(3))
    x0 = 0.4 * x0 + y0
    variance, eta = torch.tensor(0.16, dtype=torch.float64), torch.tensor(SCHEDULE.eta(t), dtype=torch.float64)
    x_t = q_sample(SCHEDULE, x0, y0, t, noise)
    error = linear_estimate(x_t, y0, eta, SCHEDULE.kappa, variance) - x0
    assert error.square().mean().sqrt() == pytest.approx(float(uncertainty(eta, SCHEDULE.kappa, variance)), rel=0.01)
    correlation = float((error * (x_t - y0)).mean() / (error.std() * (x_t - y0).std()))
    assert abs(correlation) < 0.01  # another factor of x_t - y0 would only add to the error


def test_denoise_adds_the_network_in_units_of_what_is_left() -> None:
    torch.manual_seed(0)
    net = build(GUIDED["denoiser"]).eval()
    guide = Guide(torch.rand(2, 3, 8, 8), torch.randn(2, 4, 8, 8), torch.randn(2, 8, 8, 8))
    x_t, labels = torch.randn(2, 4, 8, 8), torch.tensor([1, 3])
    variance, eta = torch.tensor([0.1, 0.2, 0.1, 0.3])[:, None, None], torch.tensor(SCHEDULE.etas)[labels]
    eta = eta.float()[:, None, None, None]
    scaled = x_t / (SCHEDULE.kappa**2 * eta + 1).sqrt()
    estimate = linear_estimate(x_t, guide.y0, eta, SCHEDULE.kappa, variance)
    torch.testing.assert_close(net.denoise(scaled, labels, guide, SCHEDULE), estimate)  # untrained: F = 0
    torch.nn.init.normal_(net.out[2].weight)
    expected = estimate + net.error_scale(x_t, labels, SCHEDULE) * net(scaled, labels, net.condition(guide))
    torch.testing.assert_close(net.denoise(scaled, labels, guide, SCHEDULE), expected)
    assert net.error_scale(x_t, labels, SCHEDULE).shape == (2, 4, 1, 1)


@pytest.mark.parametrize(("bias", "expected"), [(-20.0, -2.0), (-2.0, -2.0 + 0.6931), (5.0, 5.0009)])
def test_the_log_variance_has_a_least_value(bias: float, expected: float) -> None:
    net = build(GUIDED["noise_predictor"] | {"log_variance_bias": bias, "least_log_variance": -2.0}).eval()
    guide = Guide(torch.rand(1, 3, 8, 8), torch.randn(1, 4, 8, 8), torch.randn(1, 8, 8, 8))
    x = torch.randn(1, 4, 8, 8)
    _, log_variance = net.predict(StepState(SCHEDULE, 2, SCHEDULE.label(2), x, x, x, 1.0, lambda: x), guide)
    torch.testing.assert_close(log_variance, torch.full_like(x, expected), atol=1e-4, rtol=0)  # softplus(0) = log 2


def test_an_untrained_guided_chain_reproduces_its_start() -> None:
    torch.manual_seed(0)
    restorer = Restorer(Schedule.geometric(**CHAIN), **{name: build(config) for name, config in GUIDED.items()}).eval()
    lr = torch.rand(1, 3, 11, 9)
    with torch.no_grad():
        start = restorer.upsample(lr).clamp(0, 1)
        found = restorer.restore(lr, NoiseField(0).draw(), noise="mode")
        random = restorer.restore(lr, NoiseField(0).draw(), noise="gaussian")
    assert (found - start).abs().max() < 1e-5  # Eq. 9 takes the random first state to y_0, and a linear denoiser stays
    assert (random - start).abs().max() > 1e-3


def test_at_full_mean_weight_the_decoder_makes_the_picture() -> None:
    torch.manual_seed(0)
    restorer = Restorer(Schedule.geometric(**CHAIN), **{name: build(config) for name, config in GUIDED.items()}).eval()
    lr, states = torch.rand(1, 3, 11, 9), []
    with torch.no_grad():
        found = restorer.restore(lr, NoiseField(0).draw(), mean_weight=1.0, callback=states.append)
        half = restorer.restore(lr, NoiseField(0).draw(), noise="mode", mean_weight=0.5)
        image, guide = restorer.start(lr)
        faded = 0.5 * (image + restorer.decode(guide.y0))  # of an untrained chain, which stays at y_0
        expected = restorer.decode(states[0].x0).clamp(0, 1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(half, faded.clamp(0, 1), atol=1e-4, rtol=0)


@settings(deadline=None, max_examples=10)
@given(height=st.integers(1, 9), width=st.integers(1, 9))
def test_rrdbnet_takes_any_size_and_gives_features(height: int, width: int) -> None:
    torch.manual_seed(0)
    net = build(GUIDED["upsampler"])
    assert isinstance(net, RRDBNet)
    lr = torch.rand(2, 3, height, width)
    with torch.inference_mode():
        image, features = net.upsample(lr)
        assert image.shape == (2, 3, 4 * height, 4 * width)
        assert features.shape == (2, net.feature_channels, height, width)
        assert torch.equal(net(lr), image)


@torch.no_grad()
def test_small_residuals_are_not_lost_in_bfloat16() -> None:
    net = build({"type": "rrdbnet", "blocks": 1, "channels": 8, "growth": 4}).eval()
    for parameter in net.body.parameters():
        parameter.zero_()
    for block in (net.body[0].rdb1, net.body[0].rdb2, net.body[0].rdb3):
        block.conv5.bias.fill_(2**-9)  # a quarter of what bfloat16 tells apart from 1, after its factor of .2 less
    net.conv_first.weight.zero_()
    net.conv_first.bias.fill_(1.0)
    seen: list[torch.Tensor] = []
    net.conv_body.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for kept in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=kept):
            net.extract(torch.zeros(1, 3, 4, 5))
    assert seen[1].dtype == torch.float32
    assert (seen[1] - seen[0]).abs().max() < 1e-6


def test_a_flat_image_has_no_frame_where_edges_are_replicated() -> None:
    lr = torch.tensor([0.8, 0.3, 0.5])[None, :, None, None].expand(1, 3, 9, 7)
    spreads = []
    for edge in ({"padding": "replicate"}, {"margin": 18}, {}):
        torch.manual_seed(0)
        net = build({"type": "rrdbnet", "blocks": 1, "channels": 8, "growth": 4} | edge).eval()
        with torch.inference_mode():
            image, features = net.upsample(lr)
            assert (image.shape, features.shape) == ((1, 3, 36, 28), (1, 8, 9, 7))
            spreads.append(float(image.std((2, 3)).max()))
    assert max(spreads[:2]) < 1e-5 < 1e-3 < spreads[2]


def test_rrdbnet_is_that_of_the_published_files() -> None:
    spandrel = pytest.importorskip("spandrel")
    torch.manual_seed(0)
    net = build({"type": "rrdbnet", "blocks": 1, "channels": 32}).eval()
    theirs = spandrel.ModelLoader().load_from_state_dict(net.state_dict())
    lr = torch.rand(1, 3, 7, 6)
    assert (theirs.architecture.id, theirs.scale) == ("ESRGAN", 4)
    with torch.no_grad():
        torch.testing.assert_close(net(lr), theirs.model(lr))


def test_features_scale_with_their_factor() -> None:
    torch.manual_seed(0)
    net = build(GUIDED["upsampler"])
    one = build(GUIDED["upsampler"] | {"feature_scale": 1.0})
    one.load_state_dict(net.state_dict())
    lr = torch.rand(1, 3, 5, 5)
    torch.testing.assert_close(net.upsample(lr)[1], 2 * one.upsample(lr)[1])


def test_features_tell_what_the_start_leaves_unexplained() -> None:
    torch.manual_seed(0)
    net = build(GUIDED["upsampler"] | {"residual_features": True}).eval()
    lr = torch.rand(1, 3, 12, 9)
    with torch.inference_mode():
        image, features = net.upsample(lr)
        reduced = F.interpolate(image.clamp(0, 1), scale_factor=0.25, mode="bicubic", antialias=True)
        assert features.shape[1] == net.feature_channels == build(GUIDED["upsampler"]).feature_channels + 3
        found, expected = features[:, -3:], 20 * (lr - reduced)
        torch.testing.assert_close(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-4, rtol=0)
        with torch.autocast("cpu", torch.bfloat16):
            halved = net.upsample(lr)[1][:, -3:].float()
        assert (halved - found).abs().max() < 0.1  # an image in bfloat16, and not its reduction too


def test_every_control_changes_a_guided_result() -> None:
    up = tiny_upscaler(networks=GUIDED)
    lr = torch.rand(3, 24, 20, generator=torch.Generator().manual_seed(1))
    usual = up(lr)
    for options in ({"steps": 2}, {"noise": "gaussian"}, {"seed": 1}, {"start": "bicubic"}, {"fidelity": 1.0}):
        assert (up(lr, **options) - usual).abs().max() > 1e-4, options


def test_a_guided_model_is_saved_and_loaded(tmp_path: Path) -> None:
    up = tiny_upscaler(networks=GUIDED)
    up.save_pretrained(tmp_path / "m")
    lr = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    assert torch.equal(Upscaler.from_pretrained(tmp_path / "m", device="cpu")(lr), up(lr))


def test_a_guided_chain_needs_the_features() -> None:
    net = build(GUIDED["denoiser"])
    with pytest.raises(ConfigError, match="needs the features of its pre-upsampler"):
        net.condition(Guide(torch.rand(1, 3, 4, 4), torch.rand(1, 4, 4, 4)))
    parts = {name: build(config) for name, config in (GUIDED | {"upsampler": NETWORKS["upsampler"]}).items()}
    with pytest.raises(CheckpointError, match="needs 8 channels of features, and the upsampler gives 0"):
        check_parts(parts, "here")


def test_variances_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="variance needs one value"):
        build(GUIDED["denoiser"] | {"variance": [0.1]})
