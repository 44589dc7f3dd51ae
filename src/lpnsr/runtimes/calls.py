"""Calls of each part of a model that become graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lpnsr.checkpoints import PartName
from lpnsr.networks import SpandrelUpsampler, VQAutoencoder
from lpnsr.runtimes.sessions import RuntimeName


@dataclass(frozen=True)
class Call:
    """One method of a part. Inputs and outputs are (B, c, h, w) but for the indices ``t`` (B,).

    halo: rows and columns of the input around a pixel that its output depends on, where it is to be computed in bands.
    """

    method: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    halo: int | None = None


_NCNN = (Call("extract", ("lr",), ("map",)), Call("enlarge", ("map",), ("sr",), halo=2))
_WITH_FEATURES = (Call("upsample", ("lr",), ("sr", "features")),)
_CALLS: dict[PartName, tuple[Call, ...]] = {
    "autoencoder": (Call("encode", ("image",), ("z",)), Call("decode", ("z",), ("image",))),
    "upsampler": (Call("forward", ("lr",), ("sr",)),),
    "denoiser": (Call("forward", ("x", "t", "cond"), ("x0",)),),
    "noise_predictor": (Call("forward", ("x_t", "x0", "cond", "t"), ("mean", "log_variance")),),
}


def calls_of(name: PartName, net: nn.Module | type[nn.Module], runtime: RuntimeName) -> tuple[Call, ...]:
    """Return the calls of the part ``name``; with ncnn, of the parts alone that it computes faster than PyTorch, for
    which their class suffices."""
    if runtime == "ncnn":
        return _NCNN if all(hasattr(net, call.method) for call in _NCNN) else ()
    return _WITH_FEATURES if getattr(net, "feature_channels", 0) and name == "upsampler" else _CALLS[name]


class Method(nn.Module):
    """A method of a network as a module of its own; gives a tuple."""

    def __init__(self, net: nn.Module, name: str) -> None:
        super().__init__()
        self.net = net
        self.name = name

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        output = getattr(self.net, self.name)(*inputs)
        return output if isinstance(output, tuple) else (output,)


def takes_batches(net: nn.Module, runtime: RuntimeName) -> bool:
    """Tell whether its graph takes any batch; a foreign network may fix its trace's, so it gets images one by one."""
    return runtime != "ncnn" and not isinstance(net, SpandrelUpsampler)


def example(net: Any, call: Call, latent: int, shape: tuple[int, int, int], seed: int = 0) -> tuple[Tensor, ...]:
    """Return inputs of ``call`` for latents of ``shape`` (B, h, w) with ``latent`` channels.

    A latent to decode consists of codes, if there are some: between two codes, rounding alone decides.
    """
    generator = torch.Generator().manual_seed(seed)
    batch, height, width = shape
    channels = {
        "lr": 3,
        "image": 3,
        "map": getattr(net.config, "channels", 0),
        "cond": getattr(net.config, "cond_channels", 3),
    }

    def one(name: str) -> Tensor:
        if name == "t":
            return torch.ones(batch, dtype=torch.long)
        if name == "z" and isinstance(net, VQAutoencoder):
            codes = net.quantize.embedding.weight.detach()
            return codes[torch.randint(len(codes), shape, generator=generator)].permute(0, 3, 1, 2).contiguous()
        factor = net.factor if name == "image" else 1
        size = (batch, channels.get(name, latent), factor * height, factor * width)
        return torch.rand(size, generator=generator) * 2 - 1

    return tuple(one(name) for name in call.inputs)
