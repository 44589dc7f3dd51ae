"""Losses of the stages. Images are (B, 3, H, W) in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

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


def lattice(sr: Tensor, hr: Tensor, period: int) -> Tensor:
    """Mean absolute error that repeats with ``period``: sr - hr averaged over 4 x 4 cells, place by place in the cell.

    Errors of detail average out; a pattern locked to the cells, which perceptual losses like, stays.
    """
    folded = F.avg_pool2d(F.pixel_unshuffle(sr.float() - hr, period), 4)
    folded = folded.view(len(sr), 3, period**2, *folded.shape[2:])  # (B, 3, place, cells...)
    return (folded - folded.mean(2, keepdim=True)).abs().mean()


_TRUE_SHARE = 0.7


def excess(sr: Tensor, hr: Tensor) -> Tensor:
    """How much more fine detail ``sr`` has than most of ``hr``'s: max(0, s(sr) - 0.7 s(hr)) on average, s being the
    root mean square, over 8 x 8 px, of what a blur over 5 x 5 px takes away.

    A network that is rewarded for detail puts faint patterns on even areas, where they cost little of other errors;
    the noise of photographs would excuse them if all of it counted.
    """
    return (_fine_detail(sr.float()) - _TRUE_SHARE * _fine_detail(hr.float())).relu().mean()


def _fine_detail(image: Tensor) -> Tensor:
    detail = image - F.avg_pool2d(image, 5, stride=1, padding=2, count_include_pad=False)
    return (F.avg_pool2d(detail.square(), 8, stride=4) + 1e-6).sqrt()


def hinge_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean over the logit maps of  mean(max(0, 1 - D(real))) + mean(max(0, 1 + D(fake)))."""
    each = [F.relu(1 - r.float()).mean() + F.relu(1 + f.float()).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(each).mean()


def hinge_generator(fake: Sequence[Tensor]) -> Tensor:
    """Mean over the logit maps of  -mean(D(fake))."""
    return -torch.stack([f.float().mean() for f in fake]).mean()
