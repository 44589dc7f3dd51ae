"""The types of networks, by the names that configurations know them by."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from torch import nn

from lpnsr.errors import ConfigError
from lpnsr.networks.roles import ROLES, methods_of
from lpnsr.system.config import StrictConfig

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
    if not isinstance(config, StrictConfig) or not is_registered(net):
        raise ConfigError(f"{type(net).__name__} is no registered network; known: {', '.join(_TYPES)}")
    return config.model_dump(mode="json")


def is_registered(net: nn.Module) -> bool:
    """Tell whether configurations can name the class of ``net``."""
    return isinstance(net, tuple(kind for _, kind in _TYPES.values()))
