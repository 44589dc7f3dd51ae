"""HR batch -> LR batch: the second-order Real-ESRGAN degradation (Wang et al. 2021), a seed per sample.

A sample's parameters are drawn from its seed on the host (``plan``), its noise from a generator of the same seed on the
device, so its LR image does not depend on the batch that it is in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lpnsr.degradation.batch import degrade_batch
from lpnsr.degradation.one import degrade_one
from lpnsr.degradation.plan import draw
from lpnsr.degradation.recipe import DegradationRecipe
from lpnsr.errors import InputError


@torch.no_grad()
def degrade(hr: Tensor, recipe: DegradationRecipe, seeds: Sequence[int]) -> Tensor:
    """Make LR images of ``hr``.

    hr: (B, 3, H, W) float32 in [0, 1] with H and W multiples of the scale; seeds: one per sample.
    Returns (B, 3, H/scale, W/scale), clamped to [0, 1] and rounded to 8-bit levels, on the same device. The same seed
    gives the same image on the same kind of device: to the bit on a CPU, within a level on a GPU.
    """
    if hr.ndim != 4 or hr.shape[1] != 3 or 0 in hr.shape or hr.shape[2] % recipe.scale or hr.shape[3] % recipe.scale:
        raise InputError(f"degrade needs (B, 3, H, W) with H and W multiples of {recipe.scale}, got {tuple(hr.shape)}")
    if hr.dtype != torch.float32:
        raise InputError(f"degrade needs float32 in [0, 1], got {hr.dtype}: convert it")
    if len(seeds) != len(hr):
        raise InputError(f"degrade needs one seed per sample: {len(hr)} samples, {len(seeds)} seeds")
    plans = [draw(recipe, seed, (hr.shape[2], hr.shape[3])) for seed in seeds]
    if hr.device.type == "cpu":
        lr = torch.stack([degrade_one(x, plan) for x, plan in zip(hr, plans, strict=True)])
    else:
        lr = degrade_batch(hr, plans)
    return (lr.clamp(0, 1) * 255).round() / 255
