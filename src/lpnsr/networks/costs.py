"""Cost of networks: parameters, and arithmetic per LR pixel, counted on shapes alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lpnsr.diffusion import Schedule, StepState
from lpnsr.networks.roles import IMAGE_CHANNELS, ChainNetwork, Denoiser, Guide, NoisePredictor
from lpnsr.system.config import StrictConfig

Net = TypeVar("Net", bound=nn.Module)
_SIDE = 64
"""LR pixels on each side of what is counted: a multiple of the usual windows, so that nothing is padded."""


@dataclass(frozen=True)
class Cost:
    """Cost of a network.

    flops: per LR pixel, by method (upsample, encode, decode, denoise, predict). A multiplication with its addition, in
    a convolution, a matrix product or attention, is two; nothing else counts. A method that does not run without
    weights, such as that of a foreign network, is missing.
    """

    parameters: int
    flops: Mapping[str, float]


def cost(net: nn.Module) -> Cost:
    """Count the parameters and the FLOPs of a network of any role."""
    config = getattr(net, "config", None)
    if not isinstance(config, StrictConfig):
        return Cost(_parameters(net), _flops(net))
    key = f"{type(net).__qualname__} {config.model_dump_json()}"
    if key not in _KNOWN:
        _KNOWN[key] = _flops(net)
    return Cost(_parameters(net), _KNOWN[key])


def chain_flops(parts: Mapping[str, nn.Module], steps: int) -> float | None:
    """Count the FLOPs of a whole restoration per LR pixel; None if a part cannot be counted.

    parts: the networks of a model by role. steps: of the chain; 0 is the pre-upsampler alone.
    """
    calls = [("upsampler", "upsample", 1)]
    if steps:
        decodings = 2 if getattr(parts["autoencoder"], "decodes_differences", False) else 1
        calls += [("autoencoder", "encode", 1), ("autoencoder", "decode", decodings)]
        calls += [("denoiser", "denoise", steps), ("noise_predictor", "predict", steps - 1)]
    counted = {name: cost(net).flops for name, net in parts.items()}
    found = [(counted[part].get(method), times) for part, method, times in calls if part in parts]
    known = [flops * times for flops, times in found if flops is not None]
    return sum(known) if len(known) == len(found) else None


def without_weights(module: Net) -> Net:
    """Copy ``module`` to the ``meta`` device: shapes only."""
    # deepcopy takes what it finds in its memo, so the weights themselves are never copied.
    memo: dict[int, object] = {id(b): b.to("meta") for b in module.buffers()}
    memo |= {id(p): nn.Parameter(p.to("meta"), requires_grad=False) for p in module.parameters()}
    return copy.deepcopy(module, memo)


def _parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@torch.no_grad()
def _flops(net: nn.Module) -> dict[str, float]:
    from torch.utils.flop_counter import FlopCounterMode  # imports triton

    ghost: Any = without_weights(net)
    found = {}
    for name, call in _CALLS.items():
        if hasattr(ghost, name):
            try:
                with FlopCounterMode(display=False) as counter:
                    call(ghost)
            except (RuntimeError, TypeError, ValueError, AttributeError):  # it looks at values, as foreign networks may
                continue
            found[name] = counter.get_total_flops() / _SIDE**2
    return found


def _blank(channels: int, side: int = _SIDE) -> Tensor:
    return torch.empty(1, channels, side, side, device="meta")


def _guide(net: ChainNetwork) -> Guide:
    features = _blank(net.feature_channels) if net.feature_channels else None
    return Guide(_blank(IMAGE_CHANNELS), _blank(net.latent_channels), features)


def _denoise(net: Denoiser) -> object:
    labels = torch.zeros(1, dtype=torch.long, device="meta")
    return net.denoise(_blank(net.latent_channels), labels, _guide(net), Schedule.geometric())


def _predict(net: NoisePredictor) -> object:
    z, schedule = _blank(net.latent_channels), Schedule.geometric()
    return net.predict(StepState(schedule, 2, schedule.label(2), z, z, z, 1.0, lambda: z), _guide(net))


_CALLS: dict[str, Callable[[Any], object]] = {
    "upsample": lambda net: net.upsample(_blank(IMAGE_CHANNELS)),
    "encode": lambda net: net.encode(_blank(IMAGE_CHANNELS, net.factor * _SIDE)),
    "decode": lambda net: net.decode(_blank(net.latent_channels)),
    "denoise": _denoise,
    "predict": _predict,
}
_KNOWN: dict[str, dict[str, float]] = {}
"""FLOPs by type and configuration: equal ones are counted once."""
