"""A pre-upsampler whose image comes from one network and whose features come from another."""

from __future__ import annotations

from typing import Any, Literal, Self

from torch import Tensor, nn

from lpnsr.networks.registry import build, describe, is_registered
from lpnsr.system.config import StrictConfig


class OtherStartConfig(StrictConfig):
    """Configurations of both networks."""

    type: Literal["other_start"] = "other_start"
    image: dict[str, Any]
    features: dict[str, Any]


class OtherStart(nn.Module):
    """U(lr) of ``image`` with the feature map of ``features``.

    Networks of a chain know the features of the pre-upsampler that they were trained with, and no others.
    """

    role = "upsampler"
    image: nn.Module
    features: nn.Module

    def __init__(self, config: OtherStartConfig) -> None:
        super().__init__()
        self.config = config
        self._adopt(build(config.image), build(config.features))

    @classmethod
    def of(cls, image: nn.Module, features: nn.Module) -> Self:
        """Join two networks, which need not be registered. Those that are can be saved."""
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        if is_registered(image) and is_registered(features):
            made.config = OtherStartConfig(image=describe(image), features=describe(features))
        made._adopt(image, features)
        return made

    def _adopt(self, image: nn.Module, features: nn.Module) -> None:
        self.image, self.features = image, features
        self.scale, self.feature_channels = image.scale, features.feature_channels

    def forward(self, lr: Tensor) -> Tensor:
        """Return U(lr) (B, 3, scale h, scale w)."""
        image: Tensor = self.image(lr)
        return image

    def upsample(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """Return U(lr), and the features (B, f, h, w) of the other network."""
        return self.image(lr), self.features.upsample(lr)[1]  # type: ignore[operator]
