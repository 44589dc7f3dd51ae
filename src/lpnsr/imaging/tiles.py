"""Tiles: rectangles that cover an image, and their seamless reassembly.

Neighbours overlap. Of an overlap, the outer parts only give a tile's network its context and are thrown away;
in a band in the middle one tile fades linearly into the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lpnsr.errors import ConfigError, InputError
from lpnsr.imaging.photo import Array


@dataclass(frozen=True)
class Tile:
    """A rectangle in LR pixels."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, image: Tensor) -> Tensor:
        """Return the tile's part (..., height, width) of an image (..., H, W)."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Axis:
    """Tiles along one side of ``length`` pixels: intervals [start, start + size), the last of them cut at the end."""

    length: int
    size: int
    starts: tuple[int, ...]
    band: int

    def extent(self, index: int) -> int:
        """Return pixels of tile ``index``: ``size``, or fewer of the last."""
        return min(self.size, self.length - self.starts[index])

    def seam(self, index: int) -> tuple[int, int]:
        """Return the band [begin, end) in which tile ``index`` takes over from its predecessor; empty at the edge,
        0.
        """
        if index == 0:
            return 0, 0
        begin = (self.starts[index] + self.starts[index - 1] + self.size - self.band) // 2
        return begin, begin + self.band


@dataclass(frozen=True)
class TilePlan:
    """Tiles in reading order (row by row, left to right), of one size but for the last row and column."""

    rows: Axis
    columns: Axis

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    def __iter__(self) -> Iterator[Tile]:
        for row, top in enumerate(self.rows.starts):
            for column, left in enumerate(self.columns.starts):
                yield Tile(top, left, self.rows.extent(row), self.columns.extent(column))

    @property
    def pixels(self) -> int:
        """Pixels of all tiles together: what is computed."""
        return sum(tile.height * tile.width for tile in self)


def plan_tiles(height: int, width: int, *, tile: int, overlap: int, multiple: int = 1) -> TilePlan:
    """Cover height x width LR pixels with tiles of at most ``tile`` x ``tile``, as few and then as small as possible.

    Neighbours share ``overlap`` pixels. Tiles begin at multiples of ``multiple`` (a network's window). The last one of
    a row or column ends with the image; it shares more where less than half a tile would be left for it. A side no
    longer than ``tile`` is not cut; tile = 0 cuts nothing. Raises ConfigError if tiles of this size would not advance.
    """
    if min(height, width) < 1:
        raise InputError(f"an image of {width} x {height} pixels cannot be tiled")
    if tile < 0 or overlap < 0 or multiple < 1:
        raise ConfigError(f"tile = {tile}, overlap = {overlap}, multiple = {multiple}: none may be negative")
    return TilePlan(*(_axis(length, tile or length, overlap, multiple) for length in (height, width)))


def _axis(length: int, tile: int, overlap: int, multiple: int) -> Axis:
    if length <= tile:
        return Axis(length, length, (0,), 0)
    most = (tile - overlap) // multiple  # strides are counted in multiples
    if most < 1:
        raise ConfigError(
            f"tile = {tile}: with an overlap of {overlap} it must be at least {overlap + multiple}, or 0 for no tiles"
        )
    fresh = length - overlap  # a tile brings a stride of new pixels, the last one what is left
    count = -(-fresh // (most * multiple))
    stride = -(-fresh // (count * multiple)) * multiple
    size = stride + overlap
    last = min((count - 1) * stride, max((count - 2) * stride + multiple, (length - size // 2) // multiple * multiple))
    starts = (*range(0, (count - 1) * stride, stride), last)
    return Axis(length, size, starts, min(overlap // 2, starts[-1] - starts[-2]))


class Canvas(Protocol):
    """A float32 array (C, h, w) to paint on; after ``release`` it may lie on a disk."""

    @property
    def array(self) -> Array: ...

    def release(self) -> None: ...


class InMemory:
    """A canvas in memory."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.array: Array = np.empty(shape, np.float32)

    def release(self) -> None:
        """Do nothing: the array stays in memory."""


class Blender:
    """Takes the tiles' results in the plan's order and gives the finished rows of the whole, from top to bottom.

    In work is one row of tiles: float32 (C, scale * tile height, scale * width) and the band where the next one fades
    in, on what ``canvas`` makes of a shape. Where neighbours agree, the result is exactly what they agree on.
    """

    def __init__(
        self,
        plan: TilePlan,
        *,
        scale: int = 4,
        channels: int = 3,
        canvas: Callable[[tuple[int, ...]], Canvas] = InMemory,
    ) -> None:
        self.plan = plan
        self.scale = scale
        width = plan.columns.length * scale
        self._row = canvas((channels, plan.rows.size * scale, width))
        self._band = canvas((channels, plan.rows.band * scale, width))
        self.added = 0

    def add(self, tile: Tensor) -> None:
        """Blend in the next tile, (C, scale * h, scale * w). Raises InputError for another size or one too many.

        After the last tile of a row, ``finished`` has to be run through before the next is added.
        """
        columns = self.plan.columns
        at, index = divmod(self.added, len(columns.starts))
        if self.added == len(self.plan):
            raise InputError(f"a tile of shape {tuple(tile.shape)} after all {self.added}: none is next")
        row = torch.from_numpy(self._row.array)[:, : self.plan.rows.extent(at) * self.scale]
        expected = (*row.shape[:2], columns.extent(index) * self.scale)
        if tuple(tile.shape) != expected:
            raise InputError(
                f"a tile of shape {tuple(tile.shape)} after {self.added} of {len(self.plan)}: {expected} is next"
            )
        begin, end = (edge * self.scale for edge in columns.seam(index))
        origin = columns.starts[index] * self.scale
        fading = row[..., begin:end]
        fading += (tile[..., begin - origin : end - origin] - fading) * _ramp(end - begin)
        row[..., end : origin + tile.shape[2]] = tile[..., end - origin :]
        self._row.release()
        self.added += 1

    def finished(self, rows: int) -> Iterator[Tensor]:
        """Yield new rows that no later tile changes, ``rows`` at a time: (C, n, scale * width).

        None but after the last tile of a row.
        """
        index, beyond = divmod(self.added, len(self.plan.columns.starts))
        if beyond or not index:
            return
        axis, row, band = self.plan.rows, torch.from_numpy(self._row.array), torch.from_numpy(self._band.array)
        origin = axis.starts[index - 1] * self.scale
        begin, end = (edge * self.scale for edge in axis.seam(index - 1))
        last = index == len(axis.starts)
        stop, stop_band = (edge * self.scale for edge in ((axis.length,) * 2 if last else axis.seam(index)))
        ramp = _ramp(end - begin)[:, None]
        for top, bottom in _pieces(begin, end, rows):
            strip = band[:, top - begin : bottom - begin].clone()
            strip += (row[:, top - origin : bottom - origin] - strip) * ramp[top - begin : bottom - begin]
            yield self._released(strip)
        for top, bottom in _pieces(end, stop, rows):
            yield self._released(row[:, top - origin : bottom - origin].clone())
        if not last:
            for top, bottom in _pieces(stop, stop_band, rows):
                band[:, top - stop : bottom - stop] = row[:, top - origin : bottom - origin]
                self._released(band)

    def _released(self, strip: Tensor) -> Tensor:
        self._band.release()
        self._row.release()
        return strip


def _pieces(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    return ((at, min(stop, at + size)) for at in range(start, stop, size))


def _ramp(count: int) -> Tensor:
    """Return ``count`` values that rise linearly between 0 and 1, float32."""
    return (torch.arange(count, dtype=torch.float32) + 0.5) / max(1, count)
