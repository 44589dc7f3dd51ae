"""Tiny networks in the layout of the released checkpoints, filled by the rule of the parity data."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from support.weights import BUFFERS, fill_like

MANIFEST = Path(__file__).parents[1] / "data" / "manifest_tiny.json"
COMPONENTS = {
    "autoencoder": "autoencoder",
    "denoiser": "unet",
    "noise_predictor": "noise_predictor",
    "upsampler": "swinir",
}
NAMES = {
    "autoencoder": "autoencoder_vq_f4.pth",
    "denoiser": "resshift_realsrx4_s4_v3.pth",
    "noise_predictor": "noise_predictor.pth",
    "upsampler": "003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN.pth",
}


@cache
def shapes(part: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a tiny part, in order, with its buffers."""
    tensors = json.loads(MANIFEST.read_text(encoding="utf-8"))["tensors"]
    return {name: tuple(shape) for name, shape in tensors[COMPONENTS[part]].items()}


@cache
def _filled(part: str) -> dict[str, Tensor]:
    return fill_like(COMPONENTS[part], shapes(part))


def released(part: str, buffers: bool = False) -> dict[str, Tensor]:
    """A state dict of the released layout; the buffers' contents do not matter, so they are zero."""
    filled, result = _filled(part), {}
    for name, shape in shapes(part).items():
        if not name.endswith(BUFFERS):
            result[name] = filled[name]
        elif buffers:
            result[name] = torch.zeros(shape, dtype=torch.int64 if name.endswith("index") else torch.float32)
    return result


def write_released(folder: Path, parts: tuple[str, ...] = tuple(NAMES)) -> dict[str, Path]:
    """The released files, each wrapped in another way, under their own names."""
    wrappings = {
        "autoencoder": lambda state: {"state_dict": state, "global_step": 7},
        "denoiser": lambda state: {f"module.{name}": value for name, value in state.items()},
        "noise_predictor": lambda state: {"params": {}, "params_ema": {f"_orig_mod.{n}": v for n, v in state.items()}},
        "upsampler": lambda state: {"params": state},
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for part in parts:
        paths[part] = folder / NAMES[part]
        torch.save(wrappings[part](released(part, buffers=True)), paths[part])
    return paths
