"""The networks, and the registry by which configurations name them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from torch import nn

from lpnsr.errors import ConfigError
from lpnsr.networks.bicubic import BicubicConfig, BicubicUpsampler
from lpnsr.networks.compact import CompactConfig, CompactUpsampler
from lpnsr.networks.costs import Cost, chain_flops, cost
from lpnsr.networks.layers.padding import pad_to_multiple
from lpnsr.networks.lite_autoencoder import LiteAutoencoder, LiteAutoencoderConfig
from lpnsr.networks.noise_predictor import NoisePredictor, NoisePredictorConfig
from lpnsr.networks.roles import ROLES, Autoencoder, Denoiser, Guide, Upsampler, methods_of
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
    "Cost",
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
    "chain_flops",
    "cost",
    "describe",
    "pad_to_multiple",
    "register_network",
]

_TYPES: dict[str, tuple[type[StrictConfig], type[nn.Module]]] = {}


def register_network(name: str, config_class: type[StrictConfig], net_class: type[nn.Module]) -> None:
    """Make ``net_class`` the network type ``name``, which configurations and model folders may then name.

    ``config_class`` has the field ``type: Literal[name] = name``; ``net_class(config)`` keeps it as ``config``. The
    class states its ``role`` and has the methods of that role's protocol in ``lpnsr.networks.roles``. Raises
    ConfigError if one of these is missing, or if another class has the name.
    """
    role = getattr(net_class, "role", None)
    if role not in ROLES:
        raise ConfigError(f"{net_class.__name__}.role = {role!r}; allowed: {', '.join(ROLES)}")
    missing = [method for method in methods_of(role) if not callable(getattr(net_class, method, None))]
    if missing:
        raise ConfigError(f"{net_class.__name__} has no {' and no '.join(missing)}, which every {role} needs")
    field = config_class.model_fields.get("type")
    if field is None or field.default != name:
        raise ConfigError(f'{config_class.__name__} needs the field type: Literal["{name}"] = "{name}"')
    _, other = _TYPES.get(name, (None, net_class))
    # A class that is defined again, in a notebook, takes its own place.
    if (other.__module__, other.__qualname__) != (net_class.__module__, net_class.__qualname__):
        raise ConfigError(f"network type {name!r} is {other.__module__}.{other.__qualname__}; choose another name")
    _TYPES[name] = (config_class, net_class)


register_network("swin_unet", SwinUNetConfig, SwinUNet)
register_network("noise_predictor", NoisePredictorConfig, NoisePredictor)
register_network("vq_autoencoder", VQAutoencoderConfig, VQAutoencoder)
register_network("lite_autoencoder", LiteAutoencoderConfig, LiteAutoencoder)
register_network("bicubic", BicubicConfig, BicubicUpsampler)
register_network("compact", CompactConfig, CompactUpsampler)
register_network("rrdbnet", RRDBNetConfig, RRDBNet)
register_network("spandrel", SpandrelConfig, SpandrelUpsampler)


def build(config: Mapping[str, object]) -> nn.Module:
    """Build the untrained network of ``config``: its "type", and what differs from that type's defaults.

    Raises ConfigError naming the nearest valid type or key, MissingExtraError for a network of an extra.
    """
    config_class, net_class = network_classes(config)
    return net_class(config_class.parse(config, f"network {config['type']!r}"))


def network_classes(config: Mapping[str, object]) -> tuple[type[StrictConfig], type[nn.Module]]:
    """Return the classes of the configuration and of the network of ``config``. Raises ConfigError."""
    name = str(config.get("type"))
    if name not in _TYPES:
        near = difflib.get_close_matches(name, _TYPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(_TYPES)}"
        raise ConfigError(f"network type {config.get('type')!r} is unknown; {hint}")
    return _TYPES[name]


def describe(net: nn.Module) -> dict[str, object]:
    """Return the complete configuration of ``net``, ready for JSON; ``build`` makes the same network of it.

    Raises ConfigError for a module of a class that is not registered.
    """
    config = getattr(net, "config", None)
    if not isinstance(config, StrictConfig) or not isinstance(net, tuple(kind for _, kind in _TYPES.values())):
        raise ConfigError(f"{type(net).__name__} is no registered network; known: {', '.join(_TYPES)}")
    return config.model_dump(mode="json")
