"""A released pre-upsampler: SwinIR, or any other 4x model that spandrel recognises."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from lpnsr.checkpoints.infer import DEFAULT_IMAGE_SIZE
from lpnsr.networks import SpandrelUpsampler
from lpnsr.networks.layers.swin import relative_position_index, window_mask
from lpnsr.networks.tensors import is_derived


def load_upsampler(tensors: Mapping[str, Tensor]) -> nn.Module:
    """The upsampler that these tensors belong to. Raises CheckpointError if spandrel cannot load them."""
    return SpandrelUpsampler.from_state_dict(with_swinir_buffers(tensors)).float()


def with_swinir_buffers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``tensors``, and if they are SwinIR's, with its computed buffers: spandrel knows SwinIR by them.

    A checkpoint may lack them. Those that it has say nothing but the image size that their masks are for.
    """
    if not any(name.startswith("layers.0.residual_group.blocks.0.attn.") for name in tensors):
        return dict(tensors)
    full = {name: tensor for name, tensor in tensors.items() if not is_derived(name)}
    masks = [tensor.shape for name, tensor in tensors.items() if name.endswith(".attn_mask")]
    for name in list(full):
        if not name.endswith(".attn.relative_position_bias_table"):
            continue
        block = name.removesuffix(".attn.relative_position_bias_table")
        window = (math.isqrt(full[name].shape[0]) + 1) // 2
        full[f"{block}.attn.relative_position_index"] = relative_position_index(window)
        size = math.isqrt(masks[0][0]) * window if masks and masks[0] else DEFAULT_IMAGE_SIZE
        if int(block.rsplit(".", 1)[-1]) % 2:
            full[f"{block}.attn_mask"] = window_mask(size, size, window, "full")
    return full
