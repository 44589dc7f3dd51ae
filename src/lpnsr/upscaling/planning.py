"""The plan for an image by the memory there is: its tiles, and whether they lie in memory or on a disk."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cached_property

import torch

from lpnsr import imaging
from lpnsr.checkpoints import InferenceSettings
from lpnsr.diffusion import NoiseField
from lpnsr.errors import InputError, LpnsrWarning
from lpnsr.imaging import TilePlan
from lpnsr.networks.layers.winograd import workspace_bytes
from lpnsr.system import memory
from lpnsr.upscaling.lr_rows import LrRows
from lpnsr.upscaling.memory import (
    IN_MEMORY,
    MEMORY_FRACTION,
    MemoryPlan,
    best_plan,
    bytes_per_pixel,
    ladder,
    rounded_base,
    strip_rows,
    strips_bytes,
    tile_bytes,
    usual_tile,
)
from lpnsr.upscaling.options import SMALLEST_TILE, Options
from lpnsr.upscaling.restorer import Restorer

MOST_AT_ONCE = 8
_LITTLE = 1 << 30  # bytes that are tried anyway


def plan_model_tiles(height: int, width: int, tile: int, rules: InferenceSettings) -> TilePlan:
    """The tiles of a height x width LR image; small ones overlap by half instead of the model's usual overlap."""
    overlap = min(rules.tile_overlap, tile // 2)
    multiple = rules.tile_multiple
    while tile and tile // multiple * multiple - overlap < multiple:
        multiple //= 2  # ends at 1: the overlap is at most half
    return imaging.plan_tiles(height, width, tile=tile, overlap=overlap, multiple=multiple)


class Planner:
    """Plans for a model on a device. memory: bytes that the process may hold, or None for what is free."""

    def __init__(
        self, restorer: Restorer, rules: InferenceSettings, device: torch.device, memory: int | None = None
    ) -> None:
        self.restorer = restorer
        self.rules = rules
        self.device = device
        self.memory = memory

    @cached_property
    def pixel_bytes(self) -> int:
        """Bytes alive for an LR pixel of a tile."""
        return bytes_per_pixel(self.restorer)

    @cached_property
    def base(self) -> int:
        """Bytes that the process holds before it works on an image, with kernels that load at their first use."""
        with torch.inference_mode():
            lr = torch.zeros(1, 3, SMALLEST_TILE, SMALLEST_TILE, device=self.device)
            self.restorer.restore(lr, NoiseField(0).draw())
        return rounded_base((memory.resident_memory() or 0) + workspace_bytes(self.restorer))

    def check_files(self, amount: int) -> None:
        """Raise InputError if reading or writing a file takes more bytes at once than are free."""
        free = memory.available_memory("cpu")
        if amount > max(free, _LITTLE):
            raise InputError(
                f"files of these kinds and sizes are held in memory whole, which takes {amount / 2**30:,.1f} GiB, and "
                f"{free / 2**30:,.1f} GiB are free; PNG and TIFF are read and written row by row"
            )

    def work(self, lr: LrRows, options: Options, *, held: int, sample_bytes: int, decoding: int = 0) -> MemoryPlan:
        """The plan for an image: the tile that was asked for, or the model's usual one, smaller only where memory is
        short, with an LpnsrWarning.

        held: bytes that are taken meanwhile. sample_bytes: of a sample of ``lr`` in memory. decoding: bytes that are
        taken before the work. Raises InputError if ``memory`` does not suffice.
        """
        size = options.output_size((lr.height, lr.width), self.restorer.scale)
        lr_bytes = sample_bytes * (4 if lr.transparent else 3)
        adain = options.colour_fix == "adain"

        def tiled(tile: int) -> TilePlan:
            return plan_model_tiles(lr.height, lr.width, tile, self.rules)

        def needed(tile: int, on_disk: bool) -> int:
            strips = strips_bytes(tiled(tile), self.restorer.scale, size, lr_bytes, on_disk=on_disk, adain=adain)
            return held + max(decoding, strips + (0 if self._apart else self._tile_bytes(tiled(tile))))

        tiles = self._tiles(lr, options)
        room = self._room()
        work = best_plan(tiles, needed, room, strip_rows(tiled(tiles[0]), self.restorer.scale))
        if self.memory is None and work.needed - held > IN_MEMORY:
            work = replace(work, on_disk=True, needed=needed(work.tile, True))
        if self.memory is not None and work.needed > room:
            whole, base, files = (amount / 2**20 for amount in (self.base + work.needed, self.base, held))
            smaller = "" if options.tile == "auto" else ", or smaller tiles"
            other = "; PNG and TIFF are read and written row by row" if max(decoding, held) > room // 2 > 0 else ""
            raise InputError(
                f"memory = {self.memory / 2**20:,.0f} MiB does not suffice: tiles of {work.tile} px need "
                f"{whole:,.0f} MiB, {base:,.0f} of them for Python, torch and the model and {files:,.0f} for "
                f"what is held beside them; allow more{smaller}{other}"
            )
        usual = usual_tile(self.pixel_bytes)
        if options.tile == "auto" and tiled(work.tile) != tiled(usual):
            warnings.warn(
                f"tiles of {usual} px, usual for this model, need {needed(usual, True) / 2**20:,.0f} MiB and "
                f"{room / 2**20:,.0f} MiB are left: going on with tiles of {work.tile} px, which takes longer and may "
                f"change the result a little; -t {work.tile} or tile={work.tile} gives this result anywhere",
                LpnsrWarning,
                stacklevel=4,
            )
        return work

    def batch(self, plan: TilePlan) -> int:
        """Number of tiles to restore at once: more than one on GPUs alone, where small tiles leave much idle."""
        if not self._apart:
            return 1
        there = memory.available_memory(self.device) * MEMORY_FRACTION
        return int(min(MOST_AT_ONCE, max(1, there // self._tile_bytes(plan))))

    @property
    def _apart(self) -> bool:
        """Whether the device has memory of its own."""
        return self.device.type == "cuda"

    def _tile_bytes(self, plan: TilePlan) -> int:
        return tile_bytes(plan.rows.size * plan.columns.size, self.pixel_bytes)

    def _tiles(self, lr: LrRows, options: Options) -> tuple[int, ...]:
        """Tiles to choose from, the best first."""
        if options.tile != "auto":
            return (options.tile,)
        tiles = ladder(usual_tile(self.pixel_bytes))
        if not self._apart:
            return tiles
        there = memory.available_memory(self.device) * MEMORY_FRACTION
        plans = {tile: plan_model_tiles(lr.height, lr.width, tile, self.rules) for tile in tiles}
        return tuple(tile for tile in tiles if self._tile_bytes(plans[tile]) <= there) or tiles[-1:]

    def _room(self) -> int:
        """Bytes of the machine's memory that there are for the work."""
        if self.memory is None:
            return int(memory.available_memory("cpu") * MEMORY_FRACTION)
        return self.memory - self.base
