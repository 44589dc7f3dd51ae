"""Bicubic interpolation in the place of a pre-upsampler."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr.system.config import StrictConfig


class BicubicConfig(StrictConfig):
    """There is nothing to choose."""

    type: Literal["bicubic"] = "bicubic"


class BicubicUpsampler(nn.Module):
    """lr (B, 3, h, w) in [0, 1] -> (B, 3, 4h, 4w) about [0, 1]: it overshoots at edges and is not clamped.

    PyTorch's kernel (a = -0.75, pixel centres aligned), which the released chain starts from.
    """

    role = "upsampler"
    scale = 4
    feature_channels = 0

    def __init__(self, config: BicubicConfig | None = None) -> None:
        super().__init__()
        self.config = config or BicubicConfig()

    def upsample(self, lr: Tensor) -> tuple[Tensor, None]:
        """U(lr), without features."""
        return self(lr), None

    def forward(self, lr: Tensor) -> Tensor:
        return F.interpolate(lr, scale_factor=4.0, mode="bicubic", align_corners=False)
