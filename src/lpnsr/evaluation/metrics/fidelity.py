"""PSNR and SSIM (Wang et al. 2004): distances of the pixels from the reference."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lpnsr.evaluation.errors import UnscorableImage
from lpnsr.evaluation.protocols import Protocol

PEAK = 255.0
WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def psnr(sr: Tensor, hr: Tensor, protocol: Protocol) -> float:
    """Compute 10 log10(255^2 / MSE) in dB of two (3, H, W) in [0, 1]. Raises UnscorableImage for equal ones."""
    error = (protocol.pixels(sr) - protocol.pixels(hr)).square().mean()
    if error == 0:
        raise UnscorableImage("it equals the reference: its PSNR is infinite, and no part of a mean", "infinite")
    return float(10 * torch.log10(PEAK**2 / error))


def ssim(sr: Tensor, hr: Tensor, protocol: Protocol) -> float:
    """Compute the mean structural similarity of two (3, H, W) in [0, 1], over positions and channels.

    Gaussian window of 11 px, sigma 1.5, only where it fits; population variances; K1 = 0.01, K2 = 0.03.
    """
    x, y = protocol.pixels(sr)[:, None], protocol.pixels(hr)[:, None]
    axis = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    line = torch.exp(-(axis**2) / (2 * _SIGMA**2))
    line = line / line.sum()

    def blur(values: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(values, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))

    mx, my = blur(x), blur(y)
    vx, vy, covariance = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    luminance = (2 * mx * my + _C1) / (mx**2 + my**2 + _C1)
    return float((luminance * (2 * covariance + _C2) / (vx + vy + _C2)).mean())
