"""Gaussian noise that belongs to a place.

The field is a function of (seed, step, channel, absolute latent position) alone, so what a pixel receives
does not depend on tiles, batches, the order of files or the number of workers. It is made in blocks of
64 x 64 latent pixels, each from its own counter range of NumPy's Philox generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpnsr.errors import ConfigError

BLOCK = 64
_WORD = 2**64

Draw = Callable[[int, tuple[int, ...]], Tensor]
"""(step, shape (B, c, h, w)) -> standard normal float32 of that shape, the noise in the state x_step."""


@dataclass(frozen=True)
class NoiseField:
    """The field of one ``seed``, 0 <= seed < 2^64 (ConfigError otherwise)."""

    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.seed < _WORD:
            raise ConfigError(f"seed is {self.seed}; allowed: 0 to 2**64 - 1")

    def window(self, step: int, top: int, left: int, height: int, width: int, channels: int) -> Tensor:
        """Compute the field of ``step`` from (top, left) on: float32 (channels, height, width).

        Positions may be negative (padding above and left of an image).
        """
        out = np.empty((channels, height, width), dtype=np.float32)
        for row in range(top // BLOCK, -(-(top + height) // BLOCK)):
            for column in range(left // BLOCK, -(-(left + width) // BLOCK)):
                here, there = _overlap(row, top, height), _overlap(column, left, width)
                block = self._block(step, row, column, channels)
                out[:, here[1], there[1]] = block[:, here[0], there[0]]
        return torch.from_numpy(out)

    def _block(self, step: int, row: int, column: int, channels: int) -> NDArray[np.float32]:
        # The generator counts up in the low words of the counter and so never runs into another block.
        # Lists of large integers become floats on the way to it: hence the arrays.
        key = np.array([self.seed, step % _WORD], dtype=np.uint64)
        counter = np.array([0, 0, row % _WORD, column % _WORD], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter)).standard_normal(
            (channels, BLOCK, BLOCK), dtype=np.float32
        )

    def draw(self, offsets: Sequence[tuple[int, int]] = ((0, 0),)) -> Draw:
        """Return noise for a batch of windows with (top, left) latent corners ``offsets``, for ``reverse_chain``.

        Asked for another batch size than there are offsets, it raises ConfigError.
        """

        def draw(step: int, shape: tuple[int, ...]) -> Tensor:
            batch, channels, height, width = shape
            if batch != len(offsets):
                raise ConfigError(f"noise for {batch} windows asked of {len(offsets)} offsets; give one for each")
            return torch.stack([self.window(step, top, left, height, width, channels) for top, left in offsets])

        return draw


def ahead(draw: Draw, steps: int, shape: tuple[int, ...], device: torch.device) -> Draw:
    """Draw all noise (B, c, h, w) of a chain of ``steps`` now and send it to ``device``.

    The chain then does not wait for the host at each step. Asked for another shape, it raises ConfigError.
    """
    noise = torch.stack([draw(step, shape) for step in range(1, steps + 1)])
    if device.type == "cuda":
        noise = noise.pin_memory()
    sent = noise.to(device, non_blocking=True)

    def from_there(step: int, wanted: tuple[int, ...]) -> Tensor:
        if wanted != shape:
            raise ConfigError(f"noise of shape {wanted} asked of noise of shape {shape}")
        return sent[step - 1]

    return from_there


def _overlap(block: int, start: int, size: int) -> tuple[slice, slice]:
    """Return where a block and the range start .. start+size meet: within the block, and within the range."""
    first, last = max(block * BLOCK, start), min((block + 1) * BLOCK, start + size)
    return slice(first - block * BLOCK, last - block * BLOCK), slice(first - start, last - start)
