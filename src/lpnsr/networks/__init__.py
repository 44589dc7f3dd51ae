"""The networks, and the registry by which configurations name them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from torch import nn

from lpnsr.errors import ConfigError
from lpnsr.networks.bicubic import BicubicConfig, BicubicUpsampler
from lpnsr.networks.compact import CompactConfig, CompactUpsampler
from lpnsr.networks.layers.padding import pad_to_multiple
from lpnsr.networks.lite_autoencoder import LiteAutoencoder, LiteAutoencoderConfig
from lpnsr.networks.noise_predictor import NoisePredictor, NoisePredictorConfig
from lpnsr.networks.roles import Autoencoder, Denoiser, Guide, Upsampler
from lpnsr.networks.rrdbnet import RRDBNet, RRDBNetConfig
from lpnsr.networks.spandrel_upsampler import SpandrelConfig, SpandrelUpsampler
from lpnsr.networks.swin_unet import SwinUNet, SwinUNetConfig
from lpnsr.networks.vq_autoencoder import VQAutoencoder, VQAutoencoderConfig
from lpnsr.system.config import StrictConfig

__all__ = [
    "Autoencoder",
    "BicubicConfig",
    "BicubicUpsampler",
    "CompactConfig",
    "CompactUpsampler",
    "Denoiser",
    "Guide",
    "LiteAutoencoder",
    "LiteAutoencoderConfig",
    "NoisePredictor",
    "NoisePredictorConfig",
    "RRDBNet",
    "RRDBNetConfig",
    "SpandrelConfig",
    "SpandrelUpsampler",
    "SwinUNet",
    "SwinUNetConfig",
    "Upsampler",
    "VQAutoencoder",
    "VQAutoencoderConfig",
    "build",
    "describe",
    "pad_to_multiple",
]

_TYPES: dict[str, tuple[type[StrictConfig], type[nn.Module]]] = {
    "swin_unet": (SwinUNetConfig, SwinUNet),
    "noise_predictor": (NoisePredictorConfig, NoisePredictor),
    "vq_autoencoder": (VQAutoencoderConfig, VQAutoencoder),
    "lite_autoencoder": (LiteAutoencoderConfig, LiteAutoencoder),
    "bicubic": (BicubicConfig, BicubicUpsampler),
    "compact": (CompactConfig, CompactUpsampler),
    "rrdbnet": (RRDBNetConfig, RRDBNet),
    "spandrel": (SpandrelConfig, SpandrelUpsampler),
}


def build(config: Mapping[str, Any]) -> nn.Module:
    """The untrained network of ``config``: its "type", and what differs from that type's defaults.

    Raises ConfigError naming the nearest valid type or key, MissingExtraError for a network of an extra.
    """
    name = config.get("type")
    if name not in _TYPES:
        near = difflib.get_close_matches(str(name), _TYPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(_TYPES)}"
        raise ConfigError(f"network type {name!r} is unknown; {hint}")
    config_class, net_class = _TYPES[name]
    return net_class(config_class.parse(config, f"network {name!r}"))


def describe(net: nn.Module) -> dict[str, Any]:
    """The complete configuration of ``net``, ready for JSON; ``build`` makes the same network of it.

    Raises ConfigError for a module that is no network of this package.
    """
    config = getattr(net, "config", None)
    if not isinstance(config, StrictConfig) or not isinstance(net, tuple(kind for _, kind in _TYPES.values())):
        raise ConfigError(f"{type(net).__name__} is no network of this package; allowed: {', '.join(_TYPES)}")
    return config.model_dump(mode="json")
