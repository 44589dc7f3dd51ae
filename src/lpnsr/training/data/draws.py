"""The random numbers of a training step: a function of (seed, step), whatever the number of processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lpnsr.errors import TrainingError


@dataclass(frozen=True)
class Share:
    """The part of every global batch that one of several processes works on."""

    rank: int = 0
    processes: int = 1

    def rows(self, size: int) -> slice:
        """Return the rows of the share in a batch of ``size``. Raises TrainingError if that cannot be divided."""
        if size % self.processes:
            raise TrainingError(f"a batch of {size} cannot be divided among {self.processes} processes")
        each = size // self.processes
        return slice(self.rank * each, (self.rank + 1) * each)


ALONE = Share()


class Draws:
    """Draws for the global batch, of which it hands out the share's part. Everything is drawn on the CPU."""

    def __init__(self, seed: int, step: int, share: Share = ALONE) -> None:
        self.share = share
        state = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)
        self.generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal, shaped and placed as ``like``, whose first axis is the share's batch."""
        total = len(like) * self.share.processes
        drawn = torch.randn(total, *like.shape[1:], generator=self.generator)
        return drawn[self.share.rows(total)].to(like.device)

    def uniform(self, size: int) -> Tensor:
        """``size`` numbers in [0, 1), one a sample of the share."""
        total = size * self.share.processes
        return torch.rand(total, generator=self.generator)[self.share.rows(total)]

    def integers(self, below: int, size: int) -> Tensor:
        """Whole numbers in [0, below): those of the share's ``size`` samples."""
        everyone = torch.randint(below, (size * self.share.processes,), generator=self.generator)
        return everyone[self.share.rows(len(everyone))]

    def chance(self) -> float:
        """One number in [0, 1), the same for all processes."""
        return float(torch.rand((), generator=self.generator))
