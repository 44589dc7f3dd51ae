"""A model small enough for a test, with the classes of the real ones and random weights."""

from __future__ import annotations

from typing import Any

import torch

from lpnsr.checkpoints import ChainSettings, InferenceSettings, ModelSpec
from lpnsr.diffusion import Schedule
from lpnsr.networks import build
from lpnsr.upscaling.restorer import Restorer
from lpnsr.upscaling.upscaler import Upscaler

TRUNK = {
    "patch_size": 2,
    "model_channels": 32,
    "channel_mult": [1, 1],
    "num_res_blocks": 1,
    "swin_embed_dim": 32,
    "mlp_ratio": 1,
    "norm": "pixel",
    "window_mask": "full",
    "attention_levels": [1],
}
NETWORKS = {
    "autoencoder": {
        "type": "lite_autoencoder",
        "latent_channels": 4,
        "encoder_channels": 16,
        "decoder_channels": 16,
        "head_channels": [8, 4],
    },
    "upsampler": {"type": "compact", "channels": [8, 16], "blocks": [1, 1, 1], "head_channels": [8, 4]},
    "denoiser": {"type": "swin_unet", "in_channels": 4, "out_channels": 4, "cond_channels": 7, "residual": True}
    | TRUNK,
    "noise_predictor": {"type": "noise_predictor", "latent_channels": 4, "cond_channels": 7} | TRUNK,
}
GUIDED: dict[str, dict[str, Any]] = {
    "autoencoder": NETWORKS["autoencoder"] | {"head": "resize", "difference": True},
    "upsampler": {"type": "rrdbnet", "blocks": 1, "channels": 8, "growth": 4, "feature_scale": 2.0},
    "denoiser": {"type": "swin_unet", "in_channels": 4, "out_channels": 4, "cond_channels": 15, "feature_channels": 8}
    | {"variance": [0.1, 0.2, 0.1, 0.3]}
    | TRUNK,
    "noise_predictor": {"type": "noise_predictor", "latent_channels": 4, "cond_channels": 15, "feature_channels": 8}
    | {"predicts": "latent", "log_variance_bias": -2.0}
    | TRUNK,
}
"""A chain guided by the features of its pre-upsampler: preconditioned, by Eq. 9, decoded as a difference."""
CHAIN = {"steps": 4, "kappa": 0.5}


def tiny_upscaler(dtype: str = "float32", networks: dict[str, Any] = NETWORKS) -> Upscaler:
    """An upscaler whose parts all have an effect on the result."""
    torch.manual_seed(7)
    parts = {name: build(config) for name, config in networks.items()}
    for name in sorted(parts.keys() & {"denoiser", "noise_predictor"}):  # their last convolution starts at zero
        torch.nn.init.normal_(parts[name].out[2].weight, std=0.05)
    spec = ModelSpec(
        name="tiny",
        licence="Apache-2.0",
        parts={name: name for name in parts},
        chain=ChainSettings(**CHAIN),
        inference=InferenceSettings(tile_overlap=32, tile_multiple=32),
    )
    return Upscaler(spec, Restorer(Schedule.geometric(**CHAIN), **parts), "cpu", dtype)
