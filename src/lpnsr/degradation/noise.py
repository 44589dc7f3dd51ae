"""Sensor noise of one sample, on its device, from a generator of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from lpnsr.degradation.plan import Noise

_LUMA = (0.299, 0.587, 0.114)  # BT.601


def noisy(x: Tensor, noise: Noise, generator: torch.Generator) -> Tensor:
    """Add ``noise`` to (3, H, W) in [0, 1], clamped to [0, 1]; the expectation before the clamping is x.

    Poisson: an 8-bit pixel v is a mean of v N photons, N the number of levels in the image rounded up to a power of two
    (METHOD: Real-ESRGAN), so counts / N - v has no bias. Gray noise is that of the luma, in every channel.
    """
    if noise.gaussian:
        shape = (1 if noise.gray else 3, *x.shape[1:])
        field = torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
    else:
        source = (x * x.new_tensor(_LUMA)[:, None, None]).sum(0, keepdim=True) if noise.gray else x
        source = (source.clamp(0, 1) * 255).round()
        counts = torch.bincount(source.flatten().to(torch.int32), minlength=256)
        levels = 2 ** (counts > 0).sum().clamp_min(2).log2().ceil()
        source = source / 255
        field = torch.poisson(source * levels, generator=generator) / levels - source
    return (x + field * noise.strength).clamp_(0, 1)
