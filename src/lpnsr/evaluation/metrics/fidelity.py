"""PSNR and SSIM (Wang et al. 2004), and the protocols of the pixels that they compare."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lpnsr.errors import ConfigError
from lpnsr.evaluation.errors import UnscorableImage

PEAK = 255.0
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
LUMA_601 = (65.481, 128.553, 24.966)
"""Weights of R, G, B in [0, 1] for the studio luma of ITU-R BT.601, which is 16 for black and 235 for white."""


@dataclass(frozen=True)
class Protocol:
    """luma: the Y channel alone. border: pixels cut off at each side first. rounded: the luma is, to whole numbers."""

    name: str
    luma: bool
    border: int
    rounded: bool = False

    def __str__(self) -> str:
        channels = "Y channel (BT.601, 16..235)" if self.luma else "RGB, all channels together"
        rounding = " rounded to 8 bits" if self.rounded else ""
        return f"{channels}{rounding}, {f'{self.border} px' if self.border else 'no'} border"

    def pixels(self, image: Tensor) -> Tensor:
        """Map (3, H, W) in [0, 1] -> (1 | 3, H - 2 border, W - 2 border) float64 on 0..255."""
        image = image.double()
        if self.border:
            image = image[:, self.border : -self.border, self.border : -self.border]
        if not self.luma:
            return image * 255
        luma = 16 + (image * image.new_tensor(LUMA_601)[:, None, None]).sum(0, keepdim=True)
        return luma.round() if self.rounded else luma


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("resshift", luma=True, border=4),
        Protocol("bicubic-y", luma=True, border=4, rounded=True),  # MATLAB's
        Protocol("y-noborder", luma=True, border=0),
        Protocol("rgb", luma=False, border=4),
        Protocol("rgb-noborder", luma=False, border=0),
    )
}


def protocol_of(name: str) -> Protocol:
    """Return the protocol of this name. Raises ConfigError."""
    if name not in PROTOCOLS:
        known = "; ".join(f"{p.name}: {p}" for p in PROTOCOLS.values())
        raise ConfigError(f"protocol {name!r} is not known; choose one of these: {known}")
    return PROTOCOLS[name]


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
    axis = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    line = torch.exp(-(axis**2) / (2 * _SIGMA**2))
    line = line / line.sum()

    def blur(values: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(values, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))

    mx, my = blur(x), blur(y)
    vx, vy, covariance = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    luminance = (2 * mx * my + _C1) / (mx**2 + my**2 + _C1)
    return float((luminance * (2 * covariance + _C2) / (vx + vy + _C2)).mean())


def smallest_side(name: str, protocol: Protocol) -> int:
    """Return the shortest side in pixels that ``psnr`` or ``ssim`` takes under ``protocol``."""
    return 2 * protocol.border + (_WINDOW if name == "ssim" else 1)
