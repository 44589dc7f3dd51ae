"""A view of an image that comes in strips: the rows that are needed now, and no others, are in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor


class Window:
    """Of the strips (..., n, W) of an image, those from the first row not yet forgotten to the last one asked for."""

    def __init__(self, strips: Iterable[Tensor]) -> None:
        self._coming = iter(strips)
        self._held: deque[tuple[int, Tensor]] = deque()  # first row, rows
        self._end = 0

    def append(self, strip: Tensor) -> None:
        """Add rows below those that came so far."""
        self._held.append((self._end, strip))
        self._end += strip.shape[-2]

    def crop(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Tensor:
        """Return rows [top, bottom), columns [left, right), perhaps as a view. Strips are drawn as needed."""
        while self._end < bottom:
            self.append(next(self._coming))
        parts = [
            strip[..., max(0, top - first) : bottom - first, left:right]
            for first, strip in self._held
            if first < bottom and first + strip.shape[-2] > top
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -2)

    def forget(self, before: int) -> None:
        """Drop the rows above ``before``, which will not be asked for again."""
        while self._held and self._held[0][0] + self._held[0][1].shape[-2] <= before:
            self._held.popleft()
