"""A plan carried out on one image on the CPU, by OpenCV where it is faster than torch.

On a CPU this beats the batch: ragged sizes cost no padding, and separable kernels no two-dimensional sums
(benchmarks/degradation.py measures both).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lpnsr.degradation import kernels
from lpnsr.degradation.jpeg import encode_decode
from lpnsr.degradation.noise import noisy
from lpnsr.degradation.plan import Kernel, Noise, Plan, Resize

Planes = NDArray[np.float32]
_DIRECT = 11  # pixels: up to here OpenCV sums directly, and beyond goes through a Fourier transform, which is slower


def degrade_one(hr: Tensor, plan: Plan) -> Tensor:
    """Degrade (3, H, W) in [0, 1] on the CPU to (3, h, w), not yet rounded."""
    x: Planes = np.ascontiguousarray(hr.numpy())  # OpenCV takes no strides
    generator = torch.Generator().manual_seed(plan.seed)
    for stage in plan.stages:
        x = add_noise(resize(blur(x, stage.blur), stage.resize), stage.noise, generator)
        x = jpeg(x, stage.quality)
    if plan.jpeg_first:
        return torch.from_numpy(blur(resize(jpeg(x, plan.quality), plan.resize), plan.sinc))
    return torch.from_numpy(jpeg(blur(resize(x, plan.resize), plan.sinc), plan.quality))


def blur(x: Planes, kernel: Kernel | None) -> Planes:
    """Correlate every channel with the kernel, borders by reflection."""
    if kernel is None:
        return x
    taps = kernel.taps()
    out = np.empty_like(x)
    terms = kernels.separable(taps) if kernel.size > _DIRECT else []
    for plane, target in zip(x, out, strict=True):
        if kernel.size <= _DIRECT:
            cv2.filter2D(plane, -1, taps, dst=target)
        else:
            np.copyto(target, sum(cv2.sepFilter2D(plane, -1, row, column) for column, row in terms))
    return out


def resize(x: Planes, to: Resize | None) -> Planes:
    """Resize by torch's area, bilinear or bicubic."""
    if to is None or x.shape[1:] == to.size:
        return x
    batch = torch.from_numpy(x)[None]
    if to.mode == "area":
        return F.interpolate(batch, size=to.size, mode="area")[0].numpy()
    return F.interpolate(batch, size=to.size, mode=to.mode, align_corners=False, antialias=to.antialias)[0].numpy()


def add_noise(x: Planes, noise: Noise | None, generator: torch.Generator) -> Planes:
    """Add noise; see ``noisy``."""
    return x if noise is None else noisy(torch.from_numpy(x), noise, generator).numpy()


def jpeg(x: Planes, quality: int | None) -> Planes:
    """Code as JPEG and back; see ``encode_decode``."""
    return x if quality is None else encode_decode(x, quality)
