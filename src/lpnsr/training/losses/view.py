"""The random view through which perceptual losses and discriminators see images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ZOOMS = (0.625, 0.75, 0.875, 1.0, 1.125)


class View:
    """A random view of a batch: zoomed, shifted by 0..3 px, flipped, transposed, colours permuted.

    A fixed network has blind spots that a generator finds, above all patterns locked to its strides. Looking at both
    images through the same random view moves them about (E-LPIPS, Kettunen et al. 2019).
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.top, self.left, self.flip, self.turn = (int(n) for n in torch.randint(0, 4, (4,), generator=generator))
        self.zoom = _ZOOMS[int(torch.randint(len(_ZOOMS), (), generator=generator))]
        self.colours = torch.randperm(3, generator=generator)

    def __call__(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 3, h, w) in [-1, 1], sides multiples of 16, as discriminators need."""
        height, width = image.shape[-2] - 4, image.shape[-1] - 4  # one size, whatever the shift
        image = (image.float() * 2 - 1)[:, self.colours, self.top : self.top + height, self.left : self.left + width]
        size = [max(16, round((side + 4) * self.zoom / 16) * 16) for side in (height, width)]
        image = F.interpolate(image, size=size, mode="bilinear", antialias=True)
        image = image.flip(-1) if self.flip & 1 else image
        image = image.transpose(-1, -2) if self.turn & 1 else image
        return image.contiguous(memory_format=torch.channels_last)
