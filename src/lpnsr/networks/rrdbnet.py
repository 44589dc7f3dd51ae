"""RRDBNet (Wang et al. 2018, ESRGAN): residual-in-residual dense blocks, 4x, the network of Real-ESRGAN.

    lr (B, 3, h, w) in [0, 1] -> (B, 3, 4h, 4w) about [0, 1]

Any height and width from 1 px. Tensors have the names of the published files of Real-ESRGAN.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from lpnsr.networks.layers.basic import EdgeConv2d, PaddingMode
from lpnsr.system.config import StrictConfig

_RESIDUAL_SCALE = 0.2
_SLOPE = 0.2
_RESIDUAL_GAIN = 20.0  # brings the residual of a photograph to about unit deviation


class RRDBNetConfig(StrictConfig):
    """Shape of the network; the defaults are those of RealESRGAN_x4plus (16.7 million parameters)."""

    type: Literal["rrdbnet"] = "rrdbnet"
    blocks: PositiveInt = 23
    channels: PositiveInt = 64
    growth: PositiveInt = 32
    """Channels that each convolution of a dense block adds."""
    feature_scale: PositiveFloat = Field(default=1.0)
    """Factor that brings the feature map handed to a chain to about unit deviation."""
    padding: PaddingMode = "zeros"
    """Padding of the convolutions; weights work with that of their training alone."""
    margin: NonNegativeInt = 0
    """LR pixels by which the edges are repeated around the image, and cut off the result. The zeros that the published
    network pads with colour the edges of even areas; with a margin they lie outside."""
    residual_features: bool = False
    """Whether the features have three more channels: 20 (lr - U(lr) reduced to its size), the residual of the image."""


def _conv(config: RRDBNetConfig, inputs: int, outputs: int) -> EdgeConv2d:
    return EdgeConv2d(inputs, outputs, 3, padding=1, padding_mode=config.padding)


class DenseBlock(nn.Module):
    """x + 0.2 g(x): five convolutions, each of which sees all maps before it."""

    def __init__(self, config: RRDBNetConfig) -> None:
        super().__init__()
        channels, growth = config.channels, config.growth
        self.conv1 = _conv(config, channels, growth)
        self.conv2 = _conv(config, channels + growth, growth)
        self.conv3 = _conv(config, channels + 2 * growth, growth)
        self.conv4 = _conv(config, channels + 3 * growth, growth)
        self.conv5 = _conv(config, channels + 4 * growth, channels)

    def forward(self, x: Tensor) -> Tensor:
        maps = _narrow(x)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            maps = torch.cat([maps, _leaky(conv(maps))], 1)
        return torch.add(x, self.conv5(maps), alpha=_RESIDUAL_SCALE)


class ResidualDenseBlocks(nn.Module):
    """x + 0.2 g(x): three dense blocks in a row."""

    def __init__(self, config: RRDBNetConfig) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(config)
        self.rdb2 = DenseBlock(config)
        self.rdb3 = DenseBlock(config)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=_RESIDUAL_SCALE)


class RRDBNet(nn.Module):
    """See the module's contract; the upsampler role of ``roles``, with its last map at LR resolution as features."""

    role = "upsampler"
    scale = 4

    def __init__(self, config: RRDBNetConfig) -> None:
        super().__init__()
        self.config = config
        self.feature_channels = config.channels + 3 * config.residual_features
        width = config.channels
        self.conv_first = _conv(config, 3, width)
        self.body = nn.ModuleList(ResidualDenseBlocks(config) for _ in range(config.blocks))
        self.conv_body = _conv(config, width, width)
        self.conv_up1 = _conv(config, width, width)
        self.conv_up2 = _conv(config, width, width)
        self.conv_hr = _conv(config, width, width)
        self.conv_last = _conv(config, width, 3)

    @property
    def halo(self) -> int:
        """LR pixels around a pixel that its result can depend on. What lies beyond some 32 hardly changes it."""
        return 1 + 15 * self.config.blocks + 1 + 2

    def forward(self, lr: Tensor) -> Tensor:
        return self.upsample(lr)[0]

    def upsample(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """U(lr) (B, 3, 4h, 4w), and the feature map (B, f, h, w) of about unit deviation."""
        margin = self.config.margin
        features = self.extract(F.pad(lr, (margin,) * 4, mode="replicate") if margin else lr)
        image, features = self.enlarge(features), features * self.config.feature_scale
        if margin:
            image = image[..., 4 * margin : -4 * margin, 4 * margin : -4 * margin]
            features = features[..., margin:-margin, margin:-margin]
        if self.config.residual_features:
            residual = _RESIDUAL_GAIN * (lr - _reduced(image.clamp(0, 1)))
            features = torch.cat([features, residual.to(features.dtype)], 1)
        return image, features

    def extract(self, lr: Tensor) -> Tensor:
        """The last feature map (B, channels, h, w), as the convolutions give it."""
        first = x = _wide(self.conv_first(lr))
        for block in self.body:
            x = block(x)
        return first + self.conv_body(x)  # type: ignore[no-any-return]

    def enlarge(self, features: Tensor) -> Tensor:
        """The image (B, 3, 4h, 4w) of such a map; a pixel depends on map pixels up to two away."""
        x = _leaky(self.conv_up1(_doubled(features)))
        x = _leaky(self.conv_up2(_doubled(x)))
        return self.conv_last(_leaky(self.conv_hr(x)))  # type: ignore[no-any-return]


def _wide(x: Tensor) -> Tensor:
    """Return ``x`` in float32 under autocast: many small residuals are added to it."""
    return x.float() if _under_autocast(x) else x


def _narrow(x: Tensor) -> Tensor:
    """Return ``x`` in the precision of autocast, in which it is convolved."""
    return x.to(torch.get_autocast_dtype(x.device.type)) if _under_autocast(x) else x


def _under_autocast(x: Tensor) -> bool:
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE, inplace=not torch.is_grad_enabled())


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _reduced(image: Tensor) -> Tensor:
    """Reduce (B, 3, 4h, 4w) to (B, 3, h, w): bicubic, antialiased.

    ``F.interpolate`` has no form in ONNX for this. Elementwise operations stay in float32 under autocast.
    """
    x = F.pad(image.float(), (6, 6, 6, 6), mode="replicate")
    height, width = image.shape[-2:]
    rows = torch.stack([tap * x[..., k : k + height : 4, :] for k, tap in enumerate(_TAPS)]).sum(0)
    return torch.stack([tap * rows[..., k : k + width : 4] for k, tap in enumerate(_TAPS)]).sum(0)


def _keys(x: float) -> float:
    """Keys' cubic kernel, a = -1/2."""
    return (1.5 * x - 2.5) * x**2 + 1 if x < 1 else ((-0.5 * x + 2.5) * x - 4) * x + 2


_TAPS = [_keys(abs(k - 7.5) / 4) / 4 for k in range(16)]
