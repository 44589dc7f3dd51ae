"""Any model that spandrel reads (SwinIR, Real-ESRGAN, HAT, DAT, ...) as a pre-upsampler, of the model's own scale."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from lpnsr.errors import CheckpointError, ConfigError, MissingExtraError
from lpnsr.networks.layers.basic import is_tracing
from lpnsr.networks.layers.padding import pad_to_size
from lpnsr.system.config import StrictConfig

_PURPOSES = ("SR", "Restoration")
"""Kinds of spandrel's models that map any image to an image; the others take a mask, or a face of one size."""


class SpandrelConfig(StrictConfig):
    """Configuration that rebuilds the network without its weights."""

    type: Literal["spandrel"] = "spandrel"
    architecture: str
    """spandrel's identifier, such as "SwinIR"."""
    network: str
    """Name under which spandrel's package of that architecture offers the network."""
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    """Arguments of that class that differ from its defaults."""


class SpandrelUpsampler(nn.Module):
    """lr (B, 3, h, w) in [0, 1] -> (B, 3, scale h, scale w) about [0, 1], for any h, w >= 1.

    Networks for grey images are given the three channels one by one. The state dict is the wrapped
    network's own. Raises MissingExtraError without spandrel, ConfigError for a configuration of no
    network from image to image; ``from_state_dict`` raises CheckpointError instead.
    """

    _net: nn.Module
    role = "upsampler"
    feature_channels = 0

    def __init__(self, config: SpandrelConfig) -> None:
        super().__init__()
        self._adopt(_rebuild(config), config)

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Tensor]) -> Self:
        """Recognise the architecture of a checkpoint (for SwinIR, with its buffers) and load it."""
        spandrel = _import_spandrel()
        try:
            descriptor = spandrel.ModelLoader().load_from_state_dict(dict(state_dict))
        except spandrel.UnsupportedModelError:
            raise CheckpointError(
                f"spandrel recognises no architecture in these {len(state_dict)} tensors; "
                "give a checkpoint of a supported super-resolution model, complete with its buffers"
            ) from None
        except (
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            raise CheckpointError(f"spandrel cannot load these tensors: {error}") from None
        try:
            config = _describe(descriptor)
            upsampler = cls.__new__(cls)
            nn.Module.__init__(upsampler)
            upsampler._adopt(descriptor, config)
        except ConfigError as error:
            raise CheckpointError(str(error)) from None
        return upsampler

    def _adopt(self, descriptor: Any, config: SpandrelConfig) -> None:
        _check(descriptor)
        self.config = config
        net = descriptor.model
        # Sharing these tables keeps a prefix off the tensors' names, so that stored weights are the network's
        # own; the network itself stays out of the tables.
        self._parameters, self._buffers, self._modules = net._parameters, net._buffers, net._modules
        object.__setattr__(self, "_net", net)
        self.scale = int(descriptor.scale)
        self._grey = descriptor.input_channels == 1
        self._requirements = descriptor.size_requirements
        # The descriptor's public call runs in inference mode, whose tensors no later training step accepts.
        self._call = descriptor._call_fn
        self.train(net.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self._net.train(mode)
        return self

    def upsample(self, lr: Tensor) -> tuple[Tensor, None]:
        """Return U(lr), without features."""
        return self(lr), None

    def forward(self, lr: Tensor) -> Tensor:
        batch, channels, height, width = lr.shape
        padded_height, padded_width = self._padded(height, width)
        # Some networks scale their input in place: they are given a copy.
        image = pad_to_size(lr.clone(), padded_height, padded_width)
        if self._grey:
            image = image.reshape(batch * channels, 1, padded_height, padded_width)
        rows, columns = self.scale * height, self.scale * width
        out: Tensor = self._call(self._net, image)[..., :rows, :columns]
        return out.reshape(batch, channels, rows, columns) if self._grey else out

    def _padded(self, height: int, width: int) -> tuple[int, int]:
        """Return the size that the network requires for this one."""
        if not is_tracing():
            right, bottom = self._requirements.get_padding(width, height)
            return height + bottom, width + right
        least, multiple = self._requirements.minimum, self._requirements.multiple_of
        if self._requirements.square:
            raise ConfigError("a network that takes only squares cannot be traced for any size")
        sides = [torch.as_tensor(side).clamp(min=least) for side in (height, width)]
        rows, columns = ((side + multiple - 1) // multiple * multiple for side in sides)
        return rows, columns  # type: ignore[return-value]


def _import_spandrel() -> ModuleType:
    try:
        return importlib.import_module("spandrel")
    except ImportError:
        raise MissingExtraError("upsamplers", "spandrel") from None


def _check(descriptor: Any) -> None:
    what = f"the {descriptor.architecture.name} model"
    if descriptor.purpose not in _PURPOSES:
        raise ConfigError(f"{what} is for {descriptor.purpose}; allowed: {', '.join(_PURPOSES)}")
    channels = (descriptor.input_channels, descriptor.output_channels)
    if channels not in {(3, 3), (1, 1)}:
        raise ConfigError(f"{what} maps {channels[0]} channels to {channels[1]}; allowed: 3 to 3 or 1 to 1")


def _describe(descriptor: Any) -> SpandrelConfig:
    """Return the configuration that rebuilds a loaded model."""
    kind = type(descriptor.model)
    defaults = {name: p.default for name, p in inspect.signature(kind).parameters.items()}
    values = {
        name: value
        for name, value in descriptor.model.hyperparameters.items()
        if name not in defaults or not _same(value, defaults[name])
    }
    try:
        values = json.loads(json.dumps(values))
    except TypeError as error:
        raise ConfigError(f"the {descriptor.architecture.name} model cannot be described: {error}") from None
    package = _package(descriptor.architecture)
    network = next(name for name, value in vars(package).items() if value is kind)
    return SpandrelConfig(architecture=descriptor.architecture.id, network=network, hyperparameters=values)


def _package(architecture: Any) -> ModuleType:
    """Return spandrel's package of an architecture, which offers its networks by public names."""
    return importlib.import_module(type(architecture).__module__)


def _same(value: object, default: object) -> bool:
    return type(value) is type(default) and bool(value == default)


def _rebuild(config: SpandrelConfig) -> Any:
    """Return spandrel's descriptor of an untrained network."""
    known = _import_spandrel().MAIN_REGISTRY
    support = known.get(config.architecture)
    if support is None:
        raise ConfigError(
            f"spandrel has no architecture {config.architecture!r}; upgrade it, or give one of: "
            + ", ".join(sorted(item.architecture.id for item in known))
        )
    kind = getattr(_package(support.architecture), config.network, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module) and hasattr(kind, "hyperparameters")):
        raise ConfigError(f"architecture {config.architecture!r} has no network {config.network!r}")
    try:
        with torch.random.fork_rng(devices=[]):
            net = kind(**config.hyperparameters)
        return support.architecture.load(net.state_dict())
    except (TypeError, ValueError, RuntimeError, KeyError, AssertionError) as error:
        raise ConfigError(f"no {config.network} has such hyperparameters: {error}") from None
