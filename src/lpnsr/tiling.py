"""LR rows -> SR rows, tile by tile; what goes wrong in one tile is put right there.

Randomness comes from a noise field that is tied to absolute positions, so a result hardly depends on the tiles.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from lpnsr import imaging
from lpnsr.checkpoints import InferenceSettings
from lpnsr.checkpoints.fitting import FACTOR
from lpnsr.devices import memory_format
from lpnsr.diffusion import NoiseField, StepState
from lpnsr.errors import CheckpointError, LpnsrError, LpnsrWarning
from lpnsr.imaging import InMemory, TilePlan
from lpnsr.lr_rows import LrRows
from lpnsr.memory import SMALLEST_TILE, is_out_of_memory
from lpnsr.options import Callback, Options, Progress, fidelity_controls
from lpnsr.planning import plan_tiles
from lpnsr.restoration import Restorer

Watch = Callable[[StepState], None]


class TileRestorer:
    """Restores one image. ``limit`` is the largest side of a tile that fits into memory, once one did not."""

    def __init__(
        self, restorer: Restorer, rules: InferenceSettings, options: Options, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.restorer = restorer
        self.rules = rules
        self.options = options
        self.device = device
        self.dtype = dtype
        self.limit: int | None = None
        self._field = NoiseField(options.seed)

    def strips(
        self, lr: LrRows, tiles: TilePlan, rows: int, callback: Callback | None, canvas: Callable[..., Any] = InMemory
    ) -> Iterator[Tensor]:
        """The SR image in strips (3, n, 4 width) of up to ``rows``, float32 on the CPU. canvas: see ``Blender``."""
        reader = lr.reader()
        blender = imaging.Blender(tiles, scale=FACTOR, canvas=canvas)
        for done, box in enumerate(tiles):

            def watch(state: StepState, done: int = done) -> None:
                if callback:
                    callback(Progress(done, len(tiles), state))

            reader.forget(box.top)
            patch = reader.crop(box.top, box.top + box.height, box.left, box.left + box.width)
            blender.add(self._tile(patch, box.top, box.left, watch))
            if callback:
                callback(Progress(done + 1, len(tiles)))
            yield from blender.finished(rows)

    def _tile(self, patch: Tensor, top: int, left: int, watch: Watch) -> Tensor:
        """(3, h, w) at (top, left) of the image -> (3, 4h, 4w); where memory does not suffice, in halves."""
        height, width = patch.shape[-2:]
        if self.limit is None or max(height, width) <= self.limit:
            restored = self._if_it_fits(patch, top, left, watch)
            if restored is not None:
                return restored
        parts = plan_tiles(height, width, self.limit or 0, self.rules)
        blender = imaging.Blender(parts, scale=FACTOR)
        strips: list[Tensor] = []
        for box in parts:
            blender.add(self._tile(box.crop(patch), top + box.top, left + box.left, watch))
            strips += blender.finished(box.height * FACTOR)
        return torch.cat(strips, 1)

    def _if_it_fits(self, patch: Tensor, top: int, left: int, watch: Watch) -> Tensor | None:
        """None, and a lower limit, if memory ran out."""
        try:
            return self._restored(patch, top, left, watch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        side = max(patch.shape[-2:])
        self.limit = side // 2
        if self.limit < SMALLEST_TILE:
            raise LpnsrError(f"out of memory with tiles of {side} px; close other programs or choose a smaller model")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        warnings.warn(f"out of memory: going on with tiles of {self.limit} px", LpnsrWarning, stacklevel=2)
        return None

    def _restored(self, patch: Tensor, top: int, left: int, watch: Watch) -> Tensor:
        """(3, h, w) -> (3, 4h, 4w), both float32 on the CPU; computed again in float32 if not finite."""
        options = self.options
        fidelity = self.rules.fidelity if options.fidelity is None else options.fidelity
        temperature, mean_share, bicubic_share = fidelity_controls(fidelity)
        for dtype in (self.dtype, torch.float32):
            with self._precision(dtype):
                sr = self.restorer.restore(
                    patch[None].to(self.device).contiguous(memory_format=memory_format(self.device, self.dtype)),
                    self._field.draw([(top, left)]),
                    steps=options.steps,
                    noise=options.noise,
                    temperature=temperature,
                    mean_share=mean_share,
                    bicubic_share=bicubic_share,
                    start=options.start,
                    callback=watch,
                )[0]
            sr = sr.float().cpu()
            if bool(torch.isfinite(sr).all()):
                return sr
            if dtype == torch.float32:
                break
            warnings.warn(f"a tile was not finite in {dtype}: computed again in float32", LpnsrWarning, stacklevel=2)
        raise CheckpointError(
            "the model's output is not finite even in float32: its weights are damaged; run lpnsr models verify"
        )

    def _precision(self, dtype: torch.dtype) -> AbstractContextManager[Any]:
        return nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype)
