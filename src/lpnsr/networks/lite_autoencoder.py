"""The lite autoencoder: everything at latent resolution, no codebook, f = 4.

    encode: image (B, 3, 4h, 4w) in [-1, 1] -> z (B, latent_channels, h, w)
    decode: z -> image (B, 3, 4h, 4w)

Pixel-unshuffle in, residual blocks, two-step pixel shuffle out. Any image height and width from 1 px; an image
whose sides are not multiples of 4 is padded on the right and the bottom, so z covers ceil(height / 4) rows.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from lpnsr.networks.compact import ResizeHead, residual_stack
from lpnsr.networks.layers.basic import EdgeConv2d, PaddingMode, convolve_to_shuffle, pixel_unshuffle, silu
from lpnsr.networks.layers.padding import pad_to_multiple
from lpnsr.system.config import StrictConfig

_EDGE: PaddingMode = "replicate"  # zeros would be a coloured frame to a latent, and come out as spots in the corners


class LiteAutoencoderConfig(StrictConfig):
    """channels and blocks of the encoder and of the decoder."""

    type: Literal["lite_autoencoder"] = "lite_autoencoder"
    latent_channels: int = 16
    encoder_channels: int = 64
    encoder_blocks: int = 1
    decoder_channels: int = 64
    decoder_blocks: int = 2
    head_channels: tuple[int, int] = (48, 12)
    head: Literal["shuffle", "resize"] = "shuffle"
    """Enlargement in the decoder: by pixel shuffles, or by bilinear interpolation, which has no lattice of its own."""
    difference: bool = False
    """Whether a result is the start plus the difference of two decoded latents, U(lr) + D(x_0) - D(y_0)."""


def _shuffled(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return convolve_to_shuffle(conv, x, conv.weight, conv.bias)


class PixelHead(nn.Module):
    """Features at LR resolution -> image at 4x by two pixel shuffles with a convolution after each."""

    def __init__(self, channels: int, middle: int, last: int) -> None:
        super().__init__()
        self.to_2x = EdgeConv2d(channels, middle * 4, 3, padding=1, padding_mode=_EDGE)
        self.to_4x = EdgeConv2d(middle, last * 4, 3, padding=1, padding_mode=_EDGE)
        self.to_image = EdgeConv2d(last, 3, 3, padding=1, padding_mode=_EDGE)

    def forward(self, x: Tensor) -> Tensor:
        x = silu(_shuffled(self.to_2x, x))  # (B, middle, 2h, 2w)
        x = silu(_shuffled(self.to_4x, x))  # (B, last, 4h, 4w)
        return self.to_image(x)


class LiteAutoencoder(nn.Module):
    """See the module's contract."""

    role = "autoencoder"
    factor = 4

    def __init__(self, config: LiteAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.latent_channels = config.latent_channels
        self.decodes_differences = config.difference
        wide = config.encoder_channels
        self.encoder = nn.Sequential(
            EdgeConv2d(3 * self.factor**2, wide, 3, padding=1, padding_mode=_EDGE),
            residual_stack(wide, config.encoder_blocks, _EDGE),
            nn.Conv2d(wide, config.latent_channels, 1),
        )
        self.decoder = nn.Sequential(
            EdgeConv2d(config.latent_channels, config.decoder_channels, 3, padding=1, padding_mode=_EDGE),
            residual_stack(config.decoder_channels, config.decoder_blocks, _EDGE),
            PixelHead(config.decoder_channels, *config.head_channels)
            if config.head == "shuffle"
            else ResizeHead(config.decoder_channels, *config.head_channels, _EDGE),
        )

    def encode(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, latent_channels, ceil(H/4), ceil(W/4))."""
        padded, _ = pad_to_multiple(image, self.factor)
        return self.encoder(pixel_unshuffle(padded, self.factor))

    def decode(self, z: Tensor, quantise: bool = True) -> Tensor:
        """(B, latent_channels, h, w) -> (B, 3, 4h, 4w); there is no codebook, so ``quantise`` changes nothing."""
        return self.decoder(z)
