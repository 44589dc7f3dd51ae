"""Tiles: equal rectangles that cover an image, and their seamless reassembly.

Neighbours overlap. Of an overlap, the outer parts only give a tile's network its context and are thrown away;
in a band in the middle one tile fades linearly into the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lpnsr.errors import ConfigError, InputError


@dataclass(frozen=True)
class Tile:
    """A rectangle in LR pixels."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, image: Tensor) -> Tensor:
        """The tile's part (..., height, width) of an image (..., H, W)."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Axis:
    """Tiles along one side of ``length`` pixels: equal intervals [start, start + size)."""

    length: int
    size: int
    starts: tuple[int, ...]
    band: int

    def seam(self, index: int) -> tuple[int, int]:
        """The band [begin, end) in which tile ``index`` takes over from its predecessor; empty at the edge,
        0.
        """
        if index == 0:
            return 0, 0
        begin = (self.starts[index] + self.starts[index - 1] + self.size - self.band) // 2
        return begin, begin + self.band


@dataclass(frozen=True)
class TilePlan:
    """Tiles in reading order (row by row, left to right), all of one size."""

    rows: Axis
    columns: Axis

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    def __iter__(self) -> Iterator[Tile]:
        for top in self.rows.starts:
            for left in self.columns.starts:
                yield Tile(top, left, self.rows.size, self.columns.size)


def plan_tiles(height: int, width: int, *, tile: int, overlap: int, multiple: int = 1) -> TilePlan:
    """Cover height x width LR pixels with equal tiles of at most ``tile`` x ``tile``, as few as possible.

    Neighbours share at least ``overlap`` pixels. Sizes and origins are multiples of ``multiple`` (a network's
    window), except that the last tile of a row or column ends at the image's edge. A side no longer than
    ``tile`` is not cut; tile = 0 cuts nothing. Raises ConfigError if tiles of this size would not advance.
    """
    if min(height, width) < 1:
        raise InputError(f"an image of {width} x {height} pixels cannot be tiled")
    if tile < 0 or overlap < 0 or multiple < 1:
        raise ConfigError(f"tile = {tile}, overlap = {overlap}, multiple = {multiple}: none may be negative")
    return TilePlan(*(_axis(length, tile or length, overlap, multiple) for length in (height, width)))


def _axis(length: int, tile: int, overlap: int, multiple: int) -> Axis:
    if length <= tile:
        return Axis(length, length, (0,), 0)
    size = tile // multiple * multiple
    if size - overlap < multiple:
        raise ConfigError(
            f"tile = {tile}: with an overlap of {overlap} it must be at least "
            f"{-(-(overlap + multiple) // multiple) * multiple}, or 0 for no tiles"
        )
    count = _count(length, size, overlap, multiple)
    while size - multiple - overlap >= multiple and _count(length, size - multiple, overlap, multiple) == count:
        size -= multiple  # the same number of smaller tiles
    slack = length - size
    steps = -(-slack // multiple)
    starts = (*(steps * i // (count - 1) * multiple for i in range(count - 1)), slack)
    strides = [b - a for a, b in pairwise(starts)]
    return Axis(length, size, starts, min(overlap // 2, *strides, size))


def _count(length: int, size: int, overlap: int, multiple: int) -> int:
    stride = (size - overlap) // multiple * multiple
    steps = -(-(length - size) // multiple) * multiple
    return -(-steps // stride) + 1


class Blender:
    """Takes the tiles' results in the plan's order and fills ``out``.

    out: (C, scale * height, scale * width) of ``dtype`` on the CPU, complete once all tiles were added.
    Where neighbours agree, the result is exactly what they agree on.
    """

    def __init__(
        self, plan: TilePlan, *, scale: int = 4, channels: int = 3, dtype: torch.dtype = torch.float32
    ) -> None:
        self.plan = plan
        self.scale = scale
        width = plan.columns.length * scale
        self.out = torch.empty(channels, plan.rows.length * scale, width, dtype=dtype)
        self._row = torch.empty(channels, plan.rows.size * scale, width, dtype=dtype)  # one row of tiles
        self.added = 0

    def add(self, tiles: Tensor) -> None:
        """Blend in the next tiles, (B, C, scale * h, scale * w). Raises InputError for another size or too
        many.
        """
        expected = (self.out.shape[0], self.plan.rows.size * self.scale, self.plan.columns.size * self.scale)
        if tuple(tiles.shape[1:]) != expected or self.added + len(tiles) > len(self.plan):
            raise InputError(
                f"tiles of shape {tuple(tiles.shape)} after {self.added} of {len(self.plan)}: (B, *{expected}) is next"
            )
        for tile in tiles.to("cpu", self.out.dtype):
            row, column = divmod(self.added, len(self.plan.columns.starts))
            _join(self._row, tile, self.plan.columns, column, self.scale, -1)
            self.added += 1
            if column == len(self.plan.columns.starts) - 1:
                _join(self.out, self._row, self.plan.rows, row, self.scale, -2)


def _join(canvas: Tensor, piece: Tensor, axis: Axis, index: int, scale: int, dim: int) -> None:
    """Lay ``piece``, number ``index`` along ``dim``, over ``canvas``: fade in at its seam, then replace."""
    begin, end = (edge * scale for edge in axis.seam(index))
    origin = axis.starts[index] * scale
    stop = origin + axis.size * scale
    band = canvas.narrow(dim, begin, end - begin)
    ramp = (torch.arange(end - begin, dtype=canvas.dtype) + 0.5) / max(1, end - begin)
    ramp = ramp if dim == -1 else ramp[:, None]
    offset = begin - origin if index else 0
    band += (piece.narrow(dim, offset, end - begin) - band) * ramp
    end = end if index else origin
    canvas.narrow(dim, end, stop - end).copy_(piece.narrow(dim, end - origin, stop - end))
