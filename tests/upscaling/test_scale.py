"""A model of another scale than 4, of networks from outside the package."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lpnsr import Upscaler, networks
from lpnsr.checkpoints import ChainSettings, ModelSpec, save_folder
from lpnsr.checkpoints.verify import verify_folder
from lpnsr.errors import CheckpointError
from lpnsr.networks import BicubicUpsampler
from support.tiny_model import CHAIN, GUIDED
from support.toy_networks import ToyUpsampler


def save(folder: Path, scale: int, factor: int) -> Path:
    """A model of the toys and a chain that looks at the toys' features."""
    latent = 3 * factor**2
    guided = {"feature_channels": 3, "cond_channels": 6 + latent}
    denoiser = {"in_channels": latent, "out_channels": latent, "variance": [0.1] * latent}
    torch.manual_seed(3)
    parts = {
        "autoencoder": networks.build({"type": "toy_autoencoder", "factor": factor}),
        "upsampler": networks.build({"type": "toy_upsampler", "scale": scale}),
        "denoiser": networks.build(GUIDED["denoiser"] | guided | denoiser),
        "noise_predictor": networks.build(GUIDED["noise_predictor"] | guided | {"latent_channels": latent}),
    }
    torch.nn.init.normal_(parts["denoiser"].out[2].weight, std=0.05)
    spec = ModelSpec(
        name="toy", licence="Apache-2.0", parts={name: name for name in parts}, chain=ChainSettings(**CHAIN)
    )
    save_folder(folder, spec, parts)
    return folder


def test_a_model_of_scale_2_upscales(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", 2, 2)
    assert all(check.ok for check in verify_folder(folder))
    up = Upscaler.from_pretrained(folder, device="cpu")
    assert up.spec.scale == up.scale == 2
    lr = torch.rand(3, 19, 24)
    result = up(lr, colour_fix="none")
    assert result.shape == (3, 38, 48)
    assert up(lr, steps=0, scale=4).shape == (3, 76, 96)
    # Its start is the foreign network's; the chain does something to it.
    toy = up.restorer.upsampler
    assert isinstance(toy, ToyUpsampler)
    start = up(lr, steps=0, colour_fix="none")
    assert torch.equal(start, toy(lr[None])[0].clamp(0, 1))
    assert (result - start).abs().max() > 0.01


def test_tiles_and_colours_are_in_their_places(tmp_path: Path) -> None:
    up = Upscaler.from_pretrained(save(tmp_path / "m", 2, 2), device="cpu")
    lr = torch.rand(3, 40, 48)
    whole = up(lr, steps=0, tile=0, colour_fix="none")
    assert torch.allclose(up(lr, steps=0, tile=16, colour_fix="none"), whole, atol=1e-5)
    with torch.no_grad():
        flat = BicubicUpsampler(networks.BicubicConfig(scale=2))(torch.nn.functional.avg_pool2d(lr[None], 8))
    for fix in ("wavelet", "adain"):
        near = torch.nn.functional.avg_pool2d(up(lr, steps=0, tile=16, colour_fix=fix)[None], 8)
        assert (near - flat).abs().mean() < 0.05


def test_scales_that_disagree_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the upsampler enlarges 4x, and the autoencoder shrinks 2x"):
        Upscaler.from_pretrained(save(tmp_path / "m", 4, 2), device="cpu")
