"""Parts that do not make a model together are refused, by ``verify`` and by ``from_pretrained``, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from lpnsr.checkpoints import ModelSpec, check_parts, save_folder
from lpnsr.checkpoints.verify import verify_folder
from lpnsr.errors import CheckpointError
from lpnsr.networks import build
from lpnsr.upscaling.upscaler import Upscaler
from support.tiny_model import NETWORKS

VQ = {"type": "vq_autoencoder", "width": 32, "z_channels": 4, "embed_dim": 4, "num_res_blocks": 1, "codebook_size": 8}
FIVE = {"in_channels": 5, "out_channels": 5, "cond_channels": 8}


def parts_of(changes: dict[str, Any]) -> dict[Any, nn.Module]:
    """The networks of the tiny model; a change is None (no such part) or what differs in a part's configuration."""
    configs = {name: config | (changes.get(name) or {}) for name, config in NETWORKS.items()}
    for name, change in changes.items():
        if change is None:
            del configs[name]
        elif "type" in change:
            configs[name] = change
    return {name: build(config) for name, config in configs.items()}


@pytest.mark.parametrize("changes", [{}, {"upsampler": None, "noise_predictor": None}, {"autoencoder": VQ}])
def test_parts_that_fit(changes: dict[str, Any]) -> None:
    check_parts(parts_of(changes), "m")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"denoiser": None}, "it has no denoiser, which every model needs"),
        ({"denoiser": NETWORKS["autoencoder"]}, "the denoiser is a lite_autoencoder, .* network for the autoencoder"),
        ({"autoencoder": NETWORKS["upsampler"]}, "the autoencoder is a compact, .* network for the upsampler"),
        ({"noise_predictor": NETWORKS["denoiser"]}, "the noise_predictor is a swin_unet, .* for the denoiser"),
        ({"upsampler": NETWORKS["denoiser"]}, "the upsampler is a swin_unet"),
        ({"denoiser": FIVE}, "denoiser works on 5 channels, and the autoencoder's latent has 4"),
        ({"denoiser": {"feature_channels": 8, "cond_channels": 15}}, "needs 8 channels of features, .* gives 0"),
        ({"noise_predictor": {"latent_channels": 3, "cond_channels": 6}}, "noise_predictor works on 3 channels"),
        ({"autoencoder": VQ | {"channel_mult": [1, 1]}}, "the upsampler enlarges 4x, and the autoencoder shrinks 2x"),
    ],
)
def test_parts_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    parts = parts_of(changes)
    spec = ModelSpec(name="m", licence="Apache-2.0", parts={name: name for name in parts})
    save_folder(tmp_path / "m", spec, parts)
    *others, fit = verify_folder(tmp_path / "m")
    assert all(check.ok for check in others)
    assert (fit.what, fit.ok) == ("parts", False)
    with pytest.raises(CheckpointError, match=words) as caught:
        Upscaler.from_pretrained(tmp_path / "m", device="cpu")
    assert str(caught.value) == fit.detail
