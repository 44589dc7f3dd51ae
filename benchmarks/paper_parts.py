"""The four networks at paper size, with random weights that are the same everywhere."""

from __future__ import annotations

import math
import zlib

import torch
from torch import nn

from lpnsr.networks import build

CONFIGS = {
    "autoencoder": {"type": "vq_autoencoder"},
    "denoiser": {"type": "swin_unet"},
    "noise_predictor": {"type": "noise_predictor"},
    "upsampler": {
        "type": "spandrel",
        "architecture": "SwinIR",
        "network": "SwinIR",
        "hyperparameters": {
            "img_size": 64,
            "window_size": 8,
            "img_range": 1.0,
            "depths": [6] * 9,
            "embed_dim": 240,
            "num_heads": [8] * 9,
            "mlp_ratio": 2,
            "upscale": 4,
            "upsampler": "nearest+conv",
            "resi_connection": "3conv",
        },
    },
}
# A quarter of the widths and two short groups: for trying a benchmark out.
TINY = {"model_channels": 32, "swin_embed_dim": 64}
TINY_CONFIGS = {
    "autoencoder": CONFIGS["autoencoder"] | {"width": 32, "codebook_size": 128},
    "denoiser": CONFIGS["denoiser"] | TINY,
    "noise_predictor": CONFIGS["noise_predictor"] | TINY,
    "upsampler": CONFIGS["upsampler"]
    | {
        "hyperparameters": CONFIGS["upsampler"]["hyperparameters"]  # type: ignore[operator]
        | {"depths": [2, 2], "embed_dim": 60, "num_heads": [6, 6]}
    },
}


def make(name: str, tiny: bool = False) -> nn.Module:
    """One part, filled; layers keep the scale of what passes through them."""
    net = build((TINY_CONFIGS if tiny else CONFIGS)[name]).eval().requires_grad_(False)
    for key, parameter in net.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{name}.{key}".encode()))
        values = torch.randn(parameter.shape, generator=generator)
        if key.endswith("relative_position_bias_table"):
            values *= 0.2
        elif key == "quantize.embedding.weight":
            values *= 0.5
        elif parameter.ndim > 1:
            values /= math.sqrt(math.prod(parameter.shape[1:]))
        elif key.endswith("weight"):
            values = 1 + 0.1 * values
        else:
            values *= 0.05
        if key in ("decoder.conv_out.weight", "conv_last.weight"):
            values *= 0.2  # images stay in range
        if name == "upsampler" and key == "conv_last.bias":
            values += 0.5
        parameter.copy_(values)
    return net
