"""The roles in a chain: upsampler, autoencoder, denoiser, noise predictor.

A network of a role states the role as the attribute ``role`` of its class, and its sizes; nobody looks into its
configuration. ``lpnsr.networks.register_network`` makes it known.

Tensors are (B, c, h, w); h and w are those of the LR image, and of the latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from inspect import isfunction
from typing import Protocol

from torch import Tensor

from lpnsr.diffusion import Schedule, StepState

IMAGE_CHANNELS = 3


@dataclass(frozen=True)
class Guide:
    """The LR image as the networks of a chain see it.

    lr: (B, 3, h, w) in [0, 1]. y0: (B, c, h, w), the latent of the start. features: (B, f, h, w), the last feature map
    of the pre-upsampler; None from one that gives none.
    """

    lr: Tensor
    y0: Tensor
    features: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the latent."""
        return tuple(self.y0.shape)


class Upsampler(Protocol):
    """A pre-upsampler U."""

    @property
    def scale(self) -> int:
        """Sides of U(lr) over sides of lr."""

    @property
    def feature_channels(self) -> int:
        """Channels of the feature map that it gives; 0 if it gives none."""

    def upsample(self, lr: Tensor) -> tuple[Tensor, Tensor | None]:
        """lr (B, 3, h, w) in [0, 1] -> U(lr) (B, 3, scale h, scale w), about [0, 1], and features (B, f, h, w)."""


class Autoencoder(Protocol):
    """Images to latents and back."""

    @property
    def factor(self) -> int:
        """Sides of an image over sides of its latent."""

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""

    @property
    def decodes_differences(self) -> bool:
        """Whether a result is U(lr) + D(x_0) - D(y_0) instead of D(x_0)."""

    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, factor h, factor w) in [-1, 1] -> latent (B, c, h, w)."""

    def decode(self, z: Tensor) -> Tensor:
        """Latent (B, c, h, w) -> image (B, 3, factor h, factor w), about [-1, 1]."""


class ChainNetwork(Protocol):
    """Sizes that denoisers and noise predictors state."""

    @property
    def latent_channels(self) -> int:
        """Channels of the latent that it works on."""

    @property
    def feature_channels(self) -> int:
        """Channels of the feature map that it asks of the pre-upsampler; 0 if it takes none."""


class Denoiser(ChainNetwork, Protocol):
    """f(x_t, y, t), the prediction of x_0."""

    def denoise(self, x: Tensor, labels: Tensor, guide: Guide, schedule: Schedule) -> Tensor:
        """x_t / sqrt(kappa^2 eta_t + 1) (B, c, h, w) at the steps of ``schedule`` with ``labels`` (B,) -> x_0."""

    def error_scale(self, x: Tensor, labels: Tensor, schedule: Schedule) -> Tensor:
        """Unit of the error of ``denoise``, which training divides it by: a scalar, or (B, c, 1, 1)."""


class NoisePredictor(ChainNetwork, Protocol):
    """The Gaussian of the noise of an intermediate step."""

    def predict(self, state: StepState, guide: Guide) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of z_t, each (B, c, h, w)."""


ROLES: dict[str, type] = {
    "autoencoder": Autoencoder,
    "upsampler": Upsampler,
    "denoiser": Denoiser,
    "noise_predictor": NoisePredictor,
}


def methods_of(role: str) -> list[str]:
    """List the methods that every network of ``role`` has."""
    return [name for name, value in vars(ROLES[role]).items() if isfunction(value) and not name.startswith("_")]
