"""NIQE (Mittal, Soundararajan, Bovik 2013): the distance of an image's statistics from those of good photographs.

Needs no reference. As the field computes it: luma 0.299 R + 0.587 G + 0.114 B rounded to 8 bits, blocks of 96 px,
two scales, and the model of pristine photographs that the authors published.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lpnsr.evaluation.errors import UnscorableImage

BLOCK = 96
_MODEL = Path(str(files("lpnsr"))) / "weights" / "niqe" / "niqe_pris_params.npz"
_GRAY = (0.299, 0.587, 0.114)
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # horizontal, vertical, both diagonals
_SHAPES = torch.arange(200, 10001, dtype=torch.float64) / 1000  # the alphas among which a fit chooses


def niqe(image: Tensor) -> float:
    """Score (3, H, W) in [0, 1]; lower is better. Sides of at least 96 px; what exceeds whole blocks is left out.

    Raises UnscorableImage if no block has any texture.
    """
    mean, covariance = _pristine(str(image.device))
    features = block_features(_gray8(image))
    # A flat block has no statistics. As published, its defined features still count in the mean.
    valid = features[~features.isnan().any(1)]
    if not len(valid):
        raise UnscorableImage("it is flat: NIQE needs texture in at least one block of 96 px", "flat")
    centred = valid - valid.mean(0)
    spread = centred.T @ centred / max(1, len(valid) - 1)
    away = mean - features.nanmean(0)
    # Eq. 10: a Mahalanobis distance under the mean of both covariances.
    return float((away @ torch.linalg.pinv((covariance + spread) / 2) @ away).sqrt())


def block_features(gray: Tensor) -> Tensor:
    """Map (H, W) float64 on 0..255 -> (blocks, 36): 18 features of each block at each of two scales; NaN where flat."""
    rows, columns = (side // BLOCK for side in gray.shape)
    gray = gray[: rows * BLOCK, : columns * BLOCK]
    fine = _features(_blocks(_normalised(gray), BLOCK))
    coarse = _features(_blocks(_normalised(_half(gray)), BLOCK // 2))
    return torch.cat([fine, coarse], 1)


@cache
def _pristine(device: str) -> tuple[Tensor, Tensor]:
    """Compute the mean (36,) and covariance (36, 36) of the features of pristine photographs."""
    with np.load(_MODEL, allow_pickle=False) as model:
        mean, covariance = model["mu_pris_param"].reshape(-1), model["cov_pris_param"]
    return torch.from_numpy(mean).to(device), torch.from_numpy(covariance).to(device)


def _gray8(image: Tensor) -> Tensor:
    gray = (image.float() * image.new_tensor(_GRAY, dtype=torch.float32)[:, None, None]).sum(0)
    return (gray * 255).round().double()


def _normalised(gray: Tensor) -> Tensor:
    """Compute mean-subtracted, contrast-normalised coefficients (Eq. 1 to 3), (H, W): Gaussian 7 x 7 of sigma 7/6."""
    axis = torch.arange(7, dtype=torch.float64, device=gray.device) - 3
    window = torch.exp(-(axis[:, None] ** 2 + axis**2) / (2 * (7 / 6) ** 2))
    # In single precision, as published: its sum misses 1 by a little, so that all of a flat area falls on one side of
    # zero and is counted there. With an exact sum rounding errors would decide.
    window = (window / window.sum()).float().double()[None, None]

    def blur(values: Tensor) -> Tensor:
        return F.conv2d(F.pad(values[None, None], (3, 3, 3, 3), mode="replicate"), window)[0, 0]

    mean = blur(gray)
    deviation = ((blur(gray**2) - mean**2).abs() + torch.finfo(gray.dtype).eps).sqrt()
    return (gray - mean) / (deviation + 1)


def _half(gray: Tensor) -> Tensor:
    """Map (H, W) -> (H / 2, W / 2) by the antialiased bicubic of MATLAB's imresize, edges mirrored; even sides."""
    distance = (torch.arange(8, dtype=torch.float64, device=gray.device) - 3.5).abs() / 2
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = torch.where(distance <= 1, near, far)
    taps = taps / taps.sum()
    for _ in range(2):  # halves the rows, then, transposed, the columns
        padded = torch.cat([gray[:3].flip(0), gray, gray[-3:].flip(0)])
        gray = (padded.unfold(0, 8, 2) @ taps).T
    return gray


def _blocks(plane: Tensor, side: int) -> Tensor:
    """Map (H, W) -> (H W / side^2, side, side)."""
    return plane.unfold(0, side, side).unfold(1, side, side).reshape(-1, side, side)


def _features(blocks: Tensor) -> Tensor:
    """Map (N, h, w) -> (N, 18): shape and scale of the coefficients, then four for each product of neighbours."""
    alpha, left, right = _asymmetric_gaussian(blocks)
    columns = [alpha, (left + right) / 2]
    for shift in _NEIGHBOURS:
        alpha, left, right = _asymmetric_gaussian(blocks * blocks.roll(shift, (1, 2)))
        mean = (right - left) * (torch.lgamma(2 / alpha) - torch.lgamma(1 / alpha)).exp()  # Eq. 8
        columns += [alpha, mean, left, right]
    return torch.stack(columns, 1)


def _asymmetric_gaussian(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Map (N, h, w) -> alpha, beta_l, beta_r, each (N,): an asymmetric generalised Gaussian fitted by its moments.

    (Lasmar, Stitou, Berthoumieu 2009.) Betas are NaN where no value lies on their side.
    """
    x = blocks.flatten(1)
    square = x**2
    left = ((square * (x < 0)).sum(1) / (x < 0).sum(1)).sqrt()
    right = ((square * (x > 0)).sum(1) / (x > 0).sum(1)).sqrt()
    skew = left / right
    ratio = x.abs().mean(1) ** 2 / square.mean(1)
    ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shapes = _SHAPES.to(x.device)
    table = (2 * torch.lgamma(2 / shapes) - torch.lgamma(1 / shapes) - torch.lgamma(3 / shapes)).exp()  # grows
    above = torch.searchsorted(table, ratio).clamp(1, len(table) - 1)
    nearest = torch.where(ratio - table[above - 1] <= table[above] - ratio, above - 1, above)
    alpha = shapes[torch.where(ratio.isnan(), 0, nearest)]
    scale = (torch.lgamma(1 / alpha) - torch.lgamma(3 / alpha)).exp().sqrt()
    return alpha, left * scale, right * scale
