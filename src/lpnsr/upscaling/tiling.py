"""LR rows -> SR rows, tile by tile; what goes wrong in one tile is put right there.

Randomness comes from a noise field that is tied to absolute positions, so a result hardly depends on the tiles.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor

from lpnsr import imaging
from lpnsr.checkpoints import InferenceSettings
from lpnsr.diffusion import Draw, NoiseField, StepState, ahead
from lpnsr.errors import CheckpointError, LpnsrError, LpnsrWarning
from lpnsr.imaging import InMemory, Tile, TilePlan
from lpnsr.networks.placement import memory_format
from lpnsr.networks.roles import Autoencoder
from lpnsr.upscaling.lr_rows import LrRows
from lpnsr.upscaling.memory import is_out_of_memory
from lpnsr.upscaling.options import SMALLEST_TILE, Options
from lpnsr.upscaling.planning import plan_model_tiles
from lpnsr.upscaling.progress import Callback, Progress
from lpnsr.upscaling.restorer import Restorer, fidelity_controls

Watch = Callable[[StepState], None]


class TileRestorer:
    """Restores one image, up to ``batch`` tiles of a row at once. ``limit`` is the largest side of a tile that fits
    into memory, once one did not.
    """

    def __init__(
        self,
        restorer: Restorer,
        rules: InferenceSettings,
        options: Options,
        device: torch.device,
        dtype: torch.dtype,
        batch: int = 1,
    ) -> None:
        self.restorer = restorer
        self.rules = rules
        self.options = options
        self.device = device
        self.dtype = dtype
        self.batch = batch
        self.limit: int | None = None
        self._field = NoiseField(options.seed)

    def strips(
        self, lr: LrRows, tiles: TilePlan, rows: int, callback: Callback | None, canvas: Callable[..., Any] = InMemory
    ) -> Iterator[Tensor]:
        """The SR image in strips (3, n, scale width) of up to ``rows``, float32 on the CPU. canvas: see ``Blender``."""
        reader = lr.reader()
        blender = imaging.Blender(tiles, scale=self.restorer.scale, canvas=canvas)
        boxes = deque(tiles)
        while boxes:
            group = self._group(boxes)
            done = len(tiles) - len(boxes) - len(group)

            def watch(state: StepState, done: int = done) -> None:
                if callback:
                    callback(Progress(done, len(tiles), state))

            reader.forget(group[0].top)
            patches = [reader.crop(b.top, b.top + b.height, b.left, b.left + b.width) for b in group]
            for number, tile in enumerate(self._tiles(patches, group, watch), done + 1):
                blender.add(tile)
                if callback:
                    callback(Progress(number, len(tiles)))
                yield from blender.finished(rows)

    def _group(self, boxes: deque[Tile]) -> list[Tile]:
        """Take the next tiles off ``boxes`` that can be restored at once: of one row, and of one size."""
        group = [boxes.popleft()]
        first = group[0]
        while boxes and len(group) < self.batch and boxes[0].top == first.top and boxes[0].width == first.width:
            group.append(boxes.popleft())
        return group

    def _tiles(self, patches: list[Tensor], boxes: list[Tile], watch: Watch) -> Iterator[Tensor]:
        """Each patch at its box, restored: together, or one by one where memory does not suffice."""
        if len(patches) > 1 and self.limit is None:
            try:
                yield from self._restored(torch.stack(patches), [(box.top, box.left) for box in boxes], watch)
                return
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            self.batch = 1
            self._free()
        for patch, box in zip(patches, boxes, strict=True):
            yield self._tile(patch, box.top, box.left, watch)

    def _tile(self, patch: Tensor, top: int, left: int, watch: Watch) -> Tensor:
        """(3, h, w) at (top, left) of the image -> (3, scale h, scale w); where memory does not suffice, in halves."""
        height, width = patch.shape[-2:]
        if self.limit is None or max(height, width) <= self.limit:
            restored = self._if_it_fits(patch, top, left, watch)
            if restored is not None:
                return restored
        parts = plan_model_tiles(height, width, self.limit or 0, self.rules)
        blender = imaging.Blender(parts, scale=self.restorer.scale)
        strips: list[Tensor] = []
        for box in parts:
            blender.add(self._tile(box.crop(patch), top + box.top, left + box.left, watch))
            strips += blender.finished(box.height * self.restorer.scale)
        return torch.cat(strips, 1)

    def _if_it_fits(self, patch: Tensor, top: int, left: int, watch: Watch) -> Tensor | None:
        """None, and a lower limit, if memory ran out."""
        try:
            return self._restored(patch[None], [(top, left)], watch)[0]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        side = max(patch.shape[-2:])
        self.limit = side // 2
        if self.limit < SMALLEST_TILE:
            raise LpnsrError(f"out of memory with tiles of {side} px; close other programs or choose a smaller model")
        self._free()
        warnings.warn(f"out of memory: going on with tiles of {self.limit} px", LpnsrWarning, stacklevel=2)
        return None

    def _free(self) -> None:
        """Give back what failed work had taken."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _restored(self, patches: Tensor, corners: list[tuple[int, int]], watch: Watch) -> Tensor:
        """(B, 3, h, w) -> (B, 3, scale h, scale w), float32 on the CPU; computed again in float32 if not finite."""
        options = self.options
        temperature, mean_weight = fidelity_controls(options.fidelity or 0.0)
        draw = self._draw(patches.shape, corners)
        for dtype in (self.dtype, torch.float32):
            with self._precision(dtype):
                sr = self.restorer.restore(
                    patches.to(self.device).contiguous(memory_format=memory_format(self.device, self.dtype)),
                    draw,
                    steps=options.steps,
                    noise=options.noise or "predicted",
                    temperature=temperature,
                    mean_weight=mean_weight,
                    start=options.start or "upsampler",
                    callback=watch,
                )
            sr = sr.float().cpu()
            if bool(torch.isfinite(sr).all()):
                return sr
            if dtype == torch.float32:
                break
            warnings.warn(f"a tile was not finite in {dtype}: computed again in float32", LpnsrWarning, stacklevel=2)
        raise CheckpointError(
            "the model's output is not finite even in float32: its weights are damaged; run lpnsr models verify"
        )

    def _draw(self, shape: torch.Size, corners: list[tuple[int, int]]) -> Draw:
        """The noise of patches of ``shape``; where the device works while the host goes on, all of it at once."""
        draw, steps = self._field.draw(corners), self.options.steps or self.restorer.schedule.steps
        if self.device.type != "cuda" or self.options.steps == 0:
            return draw
        latent = cast(Autoencoder, self.restorer.autoencoder).latent_channels
        return ahead(draw, steps, (shape[0], latent, *shape[2:]), self.device)

    def _precision(self, dtype: torch.dtype) -> AbstractContextManager[Any]:
        return nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype)
