"""HR batch -> LR batch: the second-order Real-ESRGAN degradation (Wang et al. 2021), a seed per sample.

A sample's parameters (``plan``) and its noise are drawn from its seed, so its LR image does not depend on its batch.
The work is done on the CPU, image by image, by OpenCV where it is faster than torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lpnsr.degradation import kernels
from lpnsr.degradation.plan import Kernel, Noise, Plan, Resize, draw
from lpnsr.degradation.recipe import DegradationRecipe
from lpnsr.errors import InputError

Planes = NDArray[np.float32]
"""An image (3, H, W), in [0, 1] but for overshoot."""

_DIRECT = 11  # pixels: up to here OpenCV sums directly, and beyond goes through a Fourier transform, which is slower
_LUMA = (0.299, 0.587, 0.114)  # BT.601


@torch.no_grad()
def degrade(hr: Tensor, recipe: DegradationRecipe, seeds: Sequence[int]) -> Tensor:
    """Make LR images of ``hr``.

    hr: (B, 3, H, W) float32 in [0, 1] with H and W multiples of the scale; seeds: one per sample.
    Returns (B, 3, H/scale, W/scale), clamped to [0, 1] and rounded to 8-bit levels, on the same device. The same seed
    gives the same image to the bit. Raises InputError for other shapes and types.
    """
    if hr.ndim != 4 or hr.shape[1] != 3 or 0 in hr.shape or hr.shape[2] % recipe.scale or hr.shape[3] % recipe.scale:
        raise InputError(f"degrade needs (B, 3, H, W) with H and W multiples of {recipe.scale}, got {tuple(hr.shape)}")
    if hr.dtype != torch.float32:
        raise InputError(f"degrade needs float32 in [0, 1], got {hr.dtype}: convert it")
    if len(seeds) != len(hr):
        raise InputError(f"degrade needs one seed per sample: {len(hr)} samples, {len(seeds)} seeds")
    plans = [draw(recipe, seed, (hr.shape[2], hr.shape[3])) for seed in seeds]
    lr = torch.stack([degrade_one(x, plan) for x, plan in zip(hr.cpu(), plans, strict=True)])
    return ((lr.clamp(0, 1) * 255).round() / 255).to(hr.device)


def degrade_one(hr: Tensor, plan: Plan) -> Tensor:
    """Degrade (3, H, W) in [0, 1] on the CPU to (3, h, w), not yet rounded."""
    x: Planes = np.ascontiguousarray(hr.numpy())  # OpenCV takes no strides
    generator = torch.Generator().manual_seed(plan.seed)
    for stage in plan.stages:
        x = resize(blur(x, stage.blur), stage.resize)
        x = jpeg(add_noise(x, stage.noise, generator), stage.quality)
    if plan.jpeg_first:
        return torch.from_numpy(blur(resize(jpeg(x, plan.quality), plan.resize), plan.sinc))
    return torch.from_numpy(jpeg(blur(resize(x, plan.resize), plan.sinc), plan.quality))


def blur(x: Planes, kernel: Kernel | None) -> Planes:
    """Correlate every channel with the kernel, borders reflected."""
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
    """Add ``noise`` to (3, H, W) in [0, 1] and clamp to [0, 1]; the expectation before the clamp is x.

    Poisson: an 8-bit pixel v is a mean of v N photons, N the number of levels in the image rounded up to a power of two
    (METHOD: Real-ESRGAN), so counts / N - v has no bias. Gray noise is that of the luma, in every channel.
    """
    if noise is None:
        return x
    image = torch.from_numpy(x)
    if noise.gaussian:
        field = torch.randn((1 if noise.gray else 3, *x.shape[1:]), generator=generator)
    else:
        source = (image * image.new_tensor(_LUMA)[:, None, None]).sum(0, keepdim=True) if noise.gray else image
        source = (source.clamp(0, 1) * 255).round()
        counts = torch.bincount(source.flatten().to(torch.int32), minlength=256)
        levels = 2 ** (counts > 0).sum().clamp_min(2).log2().ceil()
        source = source / 255
        field = torch.poisson(source * levels, generator=generator) / levels - source
    return (image + field * noise.strength).clamp_(0, 1).numpy()


def jpeg(x: Planes, quality: int | None) -> Planes:
    """Code (3, H, W) as an 8-bit baseline JPEG (4:2:0) of ``quality`` (1..100), and decode it."""
    if quality is None:
        return x
    pixels = np.ascontiguousarray(np.rint(np.clip(x[::-1], 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))
    _, code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1]
    return np.ascontiguousarray(decoded.transpose(2, 0, 1), np.float32) / np.float32(255)
