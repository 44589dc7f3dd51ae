"""Losses of the stages. Images are (B, 3, H, W) in [0, 1]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lpnsr.training.lpips import LPIPS


def perceptual(lpips: LPIPS, sr: Tensor, hr: Tensor) -> Tensor:
    """Mean LPIPS under a random view: shifted by 0..3 px, flipped, transposed, colours permuted.

    A fixed network has blind spots that a generator finds, a pattern locked to its strides above all; the same
    random view of both images moves them about (E-LPIPS, Kettunen et al. 2019).
    """
    top, left, flip, turn = (int(n) for n in torch.randint(0, 4, (4,)))
    colours = torch.randperm(3)

    def view(image: Tensor) -> Tensor:
        height, width = image.shape[-2] - 3, image.shape[-1] - 3  # one size, whatever the shift
        image = (image * 2 - 1)[:, colours, top : top + height, left : left + width]
        image = image.flip(-1) if flip & 1 else image
        image = image.transpose(-1, -2) if turn & 1 else image
        return image.contiguous(memory_format=torch.channels_last)

    return lpips(view(sr), view(hr)).mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """mean(max(0, 1 - D(real))) + mean(max(0, 1 + D(fake)))."""
    return F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """-mean(D(fake))."""
    return -fake.float().mean()
