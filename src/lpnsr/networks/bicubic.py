"""Bicubic interpolation in the place of a pre-upsampler."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from lpnsr.system.config import StrictConfig


class BicubicConfig(StrictConfig):
    """Nothing but the scale."""

    type: Literal["bicubic"] = "bicubic"
    scale: PositiveInt = 4


class BicubicUpsampler(nn.Module):
    """lr (B, 3, h, w) in [0, 1] -> (B, 3, scale h, scale w) about [0, 1]: it overshoots at edges and is not clamped.

    PyTorch's kernel (a = -0.75, pixel centres aligned), which the released chain starts from.
    """

    role = "upsampler"
    feature_channels = 0

    def __init__(self, config: BicubicConfig | None = None) -> None:
        super().__init__()
        self.config = config or BicubicConfig()
        self.scale = self.config.scale

    def upsample(self, lr: Tensor) -> tuple[Tensor, None]:
        """Return U(lr), without features."""
        return self(lr), None

    def forward(self, lr: Tensor) -> Tensor:
        return F.interpolate(lr, scale_factor=float(self.scale), mode="bicubic", align_corners=False)
