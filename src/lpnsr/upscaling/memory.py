"""Memory of tiles and images, the sizes of tiles, and the signs of running out of memory.

The plan: a process that upscales holds Python, torch and the weights (measured when the model is loaded), and works on

- one tile: the activations that are alive at once (counted by a run of the networks on shapes alone), times 1.2 and
  64 MiB for the allocator and the kernels (measured: 1.0 to 1.4 times what was counted, 512 to 128 px);
- one row of tiles, 192 bytes a pixel of it, in memory or else on a disk;
- strips of a few rows on their way from the tiles to the encoder.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lpnsr.imaging import TilePlan, rows_at_once
from lpnsr.imaging.colour import HALO
from lpnsr.networks.costs import without_weights
from lpnsr.upscaling.options import SMALLEST_TILE
from lpnsr.upscaling.restorer import Restorer

_PROBE = 64
_SR_BYTES = 12  # three channels, float32
_TILE_SLACK, _TILE_EXTRA = 1.2, 64 << 20
_BASE_STEP = 64 << 20  # what is measured is rounded up to it: equal runs come to equal plans

_USUAL_TILES = (512, 384, 256, 224, 192, 128, 96, 64)
_TILES = (*_USUAL_TILES, 48, 32, SMALLEST_TILE)
_TILE_BUDGET = 2 << 30  # bytes alive: 512 px for small models, 224 px for the paper's, whose smaller tiles waste much
IN_MEMORY = 5 << 29  # bytes of work from which on rows of tiles lie on a disk, whatever memory is free
MEMORY_FRACTION = 0.8  # of the free memory: the rest is for other programs, which move


def rounded_base(resident: int) -> int:
    """Bytes that a process holds beside the work, from its measured resident memory."""
    return -(-resident // _BASE_STEP) * _BASE_STEP


def tile_bytes(pixels: int, pixel_bytes: int) -> int:
    """Bytes for the work on a tile of so many LR pixels."""
    return int(pixels * pixel_bytes * _TILE_SLACK) + _TILE_EXTRA


def usual_tile(pixel_bytes: int) -> int:
    """The tile of a model with ``pixel_bytes`` alive for an LR pixel: the same on every machine, at any time."""
    fitting = [tile for tile in _USUAL_TILES if tile**2 * pixel_bytes <= _TILE_BUDGET]
    return fitting[0] if fitting else _USUAL_TILES[-1]


@dataclass(frozen=True)
class MemoryPlan:
    """Tile of an image, whether the row of tiles in work lies on a disk, SR rows at a time, and bytes in all."""

    tile: int
    on_disk: bool
    rows: int
    needed: int


def best_plan(tiles: tuple[int, ...], needed: Callable[[int, bool], int], room: int, rows: int) -> MemoryPlan:
    """The first of ``tiles`` that fits into ``room`` bytes, on a disk where it has to be; if none does, the last.

    ``needed(tile, on_disk)`` tells the bytes.
    """
    options = [MemoryPlan(tile, on_disk, rows, needed(tile, on_disk)) for tile in tiles for on_disk in (False, True)]
    return next((work for work in options if work.needed <= room), options[-1])


def strips_bytes(
    plan: TilePlan, scale: int, size: tuple[int, int], lr_bytes: int, *, on_disk: bool, adain: bool
) -> int:
    """Bytes for the strips between the tiles and the encoder, tiles not included.

    scale: of the model. size: of the result. lr_bytes: of a pixel of the input. on_disk: whether the row of tiles in
    work is.
    """
    width = plan.columns.length
    rows = strip_rows(plan, scale)
    colours = _SR_BYTES * scale * width * (4 * rows + 2 * HALO)
    resized = _SR_BYTES * size[1] * (4 * rows + 8 * scale * plan.rows.length // max(1, size[0]))
    seen = lr_bytes * width * (plan.rows.size + rows)
    canvas = _SR_BYTES * scale**2 * width * (plan.rows.size + plan.rows.band)
    whole = _SR_BYTES * scale**2 * width * plan.rows.length if adain else 0
    touched = _SR_BYTES * scale**2 * plan.rows.size * plan.columns.size
    return colours + resized + seen + (touched if on_disk else canvas + whole)


def strip_rows(plan: TilePlan, scale: int) -> int:
    """SR rows to have in work at a time."""
    return min(scale * plan.rows.length, rows_at_once(_SR_BYTES * scale * plan.columns.length))


def ladder(usual: int) -> tuple[int, ...]:
    """``usual`` and the smaller tiles that take its place where memory is short."""
    return (usual, *(tile for tile in _TILES if tile < usual))


def bytes_per_pixel(restorer: Restorer) -> int:
    """Most bytes of float32 tensors that are alive at once, per LR pixel, from shapes alone: a copy without weights is
    run on ``meta``.

    A model with a foreign network that cannot run there is run itself.
    """
    try:
        return _peak(without_weights(restorer), torch.device("meta"))
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return _peak(restorer, next(restorer.parameters()).device)


def _peak(restorer: Restorer, device: torch.device) -> int:
    """Most bytes alive for an LR pixel while every part runs once."""
    lr = torch.zeros(1, 3, _PROBE, _PROBE, device=device)
    steps = min(2, restorer.schedule.steps)
    with torch.inference_mode(), _Living(restorer) as living, _Kernels():
        restorer.restore(lr, lambda step, shape: lr.new_zeros(shape), steps=steps)
    return living.peak // _PROBE**2


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are alive beside the weights of ``net``, and the most so far."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._seen = {tensor.untyped_storage()._cdata for tensor in (*net.parameters(), *net.buffers())}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._seen:
            self._seen.add(key)
            self.now += size
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


class _Kernels(TorchFunctionMode):
    """On ``meta``, attention would be the plain one with its table of all pairs, and group normalisation a chain of
    copies; real devices have kernels for both."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            q, _, v = args[:3]
            return q.new_empty(*q.shape[:-1], v.shape[-1])
        if func is torch.group_norm:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


_WORDS = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory, by type where there is one, else by the words of the allocators."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)
