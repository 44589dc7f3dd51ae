"""Padding to a multiple, on the right and at the bottom only, so that cropping is a slice from zero."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lpnsr.errors import InputError
from lpnsr.networks.layers.basic import is_tracing


def pad_to_multiple(x: Tensor, multiple: int) -> tuple[Tensor, tuple[int, int]]:
    """Pad ``x`` (B, C, h, w) so that both sides are multiples of ``multiple``; return it and (h, w).

    The image is mirrored at its edge as far as it reaches (h - 1 rows, w - 1 columns); what is still
    missing after that repeats the last row or column. Where nothing is missing, ``x`` itself
    is returned. Raises InputError for an empty image.
    """
    height, width = x.shape[-2:]
    return pad_to_size(x, height + -height % multiple, width + -width % multiple), (height, width)


def pad_to_size(x: Tensor, padded_height: int, padded_width: int) -> Tensor:
    """Pad ``x`` (B, C, h, w) to (B, C, padded_height, padded_width), neither of them smaller than now.

    See ``pad_to_multiple`` for what is filled in. Raises InputError for an empty image.
    """
    if is_tracing():
        return _looked_up(x, padded_height, padded_width)
    height, width = x.shape[-2:]
    if height < 1 or width < 1:
        raise InputError(f"an image of {height} x {width} pixels is empty; at least 1 x 1 is needed")
    bottom, right = padded_height - height, padded_width - width
    mirrored = (min(bottom, height - 1), min(right, width - 1))
    if any(mirrored):
        x = F.pad(x, (0, mirrored[1], 0, mirrored[0]), mode="reflect")
    if mirrored != (bottom, right):
        x = F.pad(x, (0, right - mirrored[1], 0, bottom - mirrored[0]), mode="replicate")
    return x


def _looked_up(x: Tensor, padded_height: int, padded_width: int) -> Tensor:
    """Pad without a branch that depends on the size, so that a traced graph pads any size."""
    for dim, size in ((2, padded_height), (3, padded_width)):
        last, index = x.shape[dim] - 1, torch.arange(size, device=x.device)
        x = x.index_select(dim, torch.minimum(index, 2 * last - index).clamp(min=0))
    return x
