"""The rule that fills networks with reproducible random weights for the parity tests.

Each tensor is drawn from a generator seeded by its own name, so any subset can be rebuilt in any order.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from torch import Tensor, nn

BUFFERS = ("relative_position_index", "attn_mask")


def normal(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal float64 numbers from the generator of ``key``."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()))).standard_normal(shape)


def fill(component: str, name: str, shape: tuple[int, ...]) -> Tensor:
    """The values of one tensor of ``component``."""
    values = normal(f"{component}.{name}", shape)
    if name.endswith("relative_position_bias_table"):
        values *= 0.2
    elif name == "quantize.embedding.weight":
        values *= 0.5
    elif len(shape) > 1:
        values *= 1 / math.sqrt(math.prod(shape[1:]))
    elif name.endswith("weight"):
        values = 1 + 0.1 * values
    else:
        values *= 0.05
    tensor = torch.from_numpy(values.astype(np.float32))
    if (component, name) in {("autoencoder", "decoder.conv_out.weight"), ("swinir", "conv_last.weight")}:
        tensor *= 0.2
    if (component, name) == ("swinir", "conv_last.bias"):
        tensor += 0.5
    return tensor


def fill_like(component: str, shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """A state dict of the given names and shapes, without the computed buffers."""
    return {name: fill(component, name, tuple(shape)) for name, shape in shapes.items() if not name.endswith(BUFFERS)}


def load_filled(net: nn.Module, component: str, shapes: dict[str, list[int]]) -> nn.Module:
    """``net`` with the rule's weights, after checking its names, shapes and order against the manifest."""
    own = net.state_dict()
    assert [(name, list(tensor.shape)) for name, tensor in own.items()] == [*shapes.items()]
    computed = {name: tensor for name, tensor in own.items() if name.endswith(BUFFERS)}
    net.load_state_dict({**computed, **fill_like(component, shapes)}, strict=True)
    return net.eval()
