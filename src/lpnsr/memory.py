"""What a tile needs, and how running out of memory looks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lpnsr.networks import VQAutoencoder
from lpnsr.restoration import Restorer

_LIVE = 8  # times the largest activation: what was seen alive at once, allocator slack included
_PROBE = 64

SMALLEST_TILE = 16
_USUAL_TILES = (512, 384, 256, 192, 128, 96, 64)
_TILES = (*_USUAL_TILES, 48, 32, SMALLEST_TILE)
_TILE_BUDGET = 5 << 30  # bytes: 512 px for small models, 192 px for the paper's, whose smaller tiles waste much
_MEMORY_SHARE = 0.8  # of the free memory: the rest is for other programs, which move


def usual_tile(pixel_bytes: int) -> int:
    """The tile of a model that needs ``pixel_bytes`` for an LR pixel: the same on every machine, at any time."""
    fitting = [tile for tile in _USUAL_TILES if tile**2 * pixel_bytes <= _TILE_BUDGET]
    return fitting[0] if fitting else _USUAL_TILES[-1]


def affordable_tile(usual: int, needed: Callable[[int], int], free: int) -> int:
    """``usual``, or the largest tile below it for which ``needed(tile)`` bytes are there."""
    ladder = (usual, *(tile for tile in _TILES if tile < usual))
    return next((tile for tile in ladder if needed(tile) <= free * _MEMORY_SHARE), SMALLEST_TILE)


def bytes_per_pixel(restorer: Restorer) -> int:
    """Peak bytes of float32 activations per LR pixel, from shapes alone: a copy without weights is run on ``meta``.

    Where a part cannot run there (some foreign pre-upsamplers), what the others need is taken.
    """
    largest = 0

    def watch(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, torch.Tensor):
            largest = max(largest, output.numel())

    keep: Any = nn.Identity()
    ghost: Any = _without_weights(restorer)
    for module in ghost.modules():
        module.register_forward_hook(watch)
    lr = torch.empty(1, 3, _PROBE, _PROBE, device="meta")
    with torch.inference_mode():
        try:
            image = ghost.upsample(lr)
        except (RuntimeError, NotImplementedError):
            image = ghost.bicubic(lr)
        if isinstance(ghost.autoencoder, VQAutoencoder):
            ghost.autoencoder.quantize = keep  # the look-up keeps the shape, and cannot run on ``meta``
        y0 = ghost.encode(image)
        ghost.denoiser(y0, torch.zeros(1, dtype=torch.long, device="meta"), ghost.condition(lr, y0))
        ghost.decode(y0)
    return largest * 4 * _LIVE // _PROBE**2


def _without_weights(module: nn.Module) -> nn.Module:
    """A copy of ``module`` on the ``meta`` device: shapes only."""
    # deepcopy takes what it finds in its memo, so the weights themselves are never copied.
    memo: dict[int, object] = {id(b): b.to("meta") for b in module.buffers()}
    memo |= {id(p): nn.Parameter(p.to("meta"), requires_grad=False) for p in module.parameters()}
    return copy.deepcopy(module, memo)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory, by type where there is one (the CPU allocator has none)."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
