"""The vector-quantised autoencoder of factor 4 (latent diffusion's VQ-f4).

    encode: image (B, 3, H, W) in [-1, 1] -> z (B, c, ceil(H / 4), ceil(W / 4))
    decode: z (B, c, h, w) -> image (B, 3, 4h, 4w) about [-1, 1]

Its memory grows in proportion to the image: neither the attention in the middle nor the codebook look-up
holds a table of all pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from lpnsr.networks.layers.basic import Upsample, add, is_tracing, make_norm, silu
from lpnsr.networks.layers.padding import pad_to_multiple
from lpnsr.system.config import StrictConfig

NORM_EPS = 1e-6
PAIRS_AT_ONCE = 2**24  # entries of a table of pairs: 64 MB in float32
_TRACED_CHUNKS = 32  # of queries, in a graph whose sizes are not known yet
_TRACED_CODES = 1024  # looked at together there


class VQAutoencoderConfig(StrictConfig):
    """Shape of the autoencoder; the defaults are the released one (55.3 million parameters)."""

    type: Literal["vq_autoencoder"] = "vq_autoencoder"
    width: PositiveInt = 128
    """Channels at full resolution."""
    image_channels: Literal[3] = 3
    channel_mult: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 4)
    """Width of each level, in units of ``width``; every level but the first halves the resolution."""
    num_res_blocks: PositiveInt = 2
    z_channels: PositiveInt = 3
    """Channels that encoder and decoder work with."""
    embed_dim: PositiveInt = 3
    """Channels of the latent and of the codebook."""
    codebook_size: PositiveInt = 8192


class ResnetBlock(nn.Module):
    """(B, C, h, w) -> (B, out, h, w)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = make_norm("group", channels, NORM_EPS)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = make_norm("group", out_channels, NORM_EPS)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if channels != out_channels:
            self.nin_shortcut = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(silu(self.norm1(x)))
        hidden = self.conv2(silu(self.norm2(hidden)))
        if hasattr(self, "nin_shortcut"):
            x = self.nin_shortcut(x)
        return add(x, hidden)


class FullAttention(nn.Module):
    """Single-head attention of every position to every other, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = make_norm("group", channels, NORM_EPS)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(x)
        q, k, v = (part(hidden).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))  # (B, n, C)
        out = _traced_attention(q, k, v) if is_tracing() else _attention(q, k, v)
        return x + self.proj_out(out.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend over (B, n, C) in chunks, since not every device has kernels that hold no score matrix."""
    q, k, v = q[:, None], k[:, None], v[:, None]
    chunks = torch.split(q, max(1, PAIRS_AT_ONCE // q.shape[2]), dim=2)
    return torch.cat([F.scaled_dot_product_attention(chunk, k, v) for chunk in chunks], dim=2)[:, 0]


def _traced_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend in a fixed number of equal chunks, whatever n will be; in the last ones the last query is repeated.

    In three dimensions: with a head of its own in the fourth, OpenVINO 2026.4 computes wrong results.
    """
    count = q.shape[1]
    rows = (count + _TRACED_CHUNKS - 1) // _TRACED_CHUNKS
    index = torch.arange(_TRACED_CHUNKS * rows, device=q.device).clamp(max=count - 1)
    chunks = (q.index_select(1, index[i * rows : (i + 1) * rows]) for i in range(_TRACED_CHUNKS))
    return torch.cat([F.scaled_dot_product_attention(chunk, k, v) for chunk in chunks], dim=1)[:, :count]


class PaddedDownsample(nn.Module):
    """Halves an even size; the released network pads on the right and at the bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # type: ignore[no-any-return]


class Middle(nn.Module):
    """The coarsest level: residual block, attention, residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = FullAttention(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))  # type: ignore[no-any-return]


class Level(nn.Module):
    """The residual blocks of one resolution, and the change to the next (at most one of the two)."""

    def __init__(self, channels: int, out_channels: int, blocks: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResnetBlock(channels if index == 0 else out_channels, out_channels) for index in range(blocks)
        )


def _steps(levels: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Yield the layers of ``levels`` in order, so that the caller can drop the input after the first."""
    for layer in chain.from_iterable(level.children() for level in levels):
        yield from layer if isinstance(layer, nn.ModuleList) else (layer,)


class Encoder(nn.Module):
    """Image -> features (B, z_channels, h, w); sides must be multiples of the factor."""

    def __init__(self, config: VQAutoencoderConfig) -> None:
        super().__init__()
        widths = [config.width * factor for factor in config.channel_mult]
        self.conv_in = nn.Conv2d(config.image_channels, config.width, 3, padding=1)
        self.down = nn.ModuleList()
        channels = config.width
        for index, width in enumerate(widths):
            level = Level(channels, width, config.num_res_blocks)
            if index + 1 < len(widths):
                level.downsample = PaddedDownsample(width)
            self.down.append(level)
            channels = width
        self.mid = Middle(channels)
        self.norm_out = make_norm("group", channels, NORM_EPS)
        self.conv_out = nn.Conv2d(channels, config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for step in _steps(self.down):
            x = step(x)
        return self.conv_out(silu(self.norm_out(self.mid(x))))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Features (B, z_channels, h, w) -> image. ``up`` is numbered from the finest level."""

    def __init__(self, config: VQAutoencoderConfig) -> None:
        super().__init__()
        widths = [config.width * factor for factor in config.channel_mult]
        self.conv_in = nn.Conv2d(config.z_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList()
        for index, width in enumerate(widths):
            coarser = widths[min(index + 1, len(widths) - 1)]
            level = Level(coarser, width, config.num_res_blocks + 1)
            if index > 0:
                level.upsample = Upsample(width)
            self.up.append(level)
        self.norm_out = make_norm("group", widths[0], NORM_EPS)
        self.conv_out = nn.Conv2d(widths[0], config.image_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        for step in _steps(reversed(self.up)):
            x = step(x)
        return self.conv_out(silu(self.norm_out(x)))  # type: ignore[no-any-return]


class Codebook(nn.Module):
    """(B, c, h, w) -> the nearest code of every position; gradients pass straight through."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, channels)
        nn.init.uniform_(self.embedding.weight, -1.0 / size, 1.0 / size)

    def nearest(self, z: Tensor) -> Tensor:
        """Return int64 (B, h, w): argmin over the codes e of |e|^2 - 2 z.e, in float32."""
        batch, channels, height, width = z.shape
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            tokens = z.permute(0, 2, 3, 1).reshape(-1, channels).float()
            codes = self.embedding.weight.float()
            squares = codes.square().sum(dim=1)
            if is_tracing():
                return _traced_nearest(tokens, codes, squares).view(batch, height, width)
            rows = max(1, PAIRS_AT_ONCE // len(codes))
            found = [torch.addmm(squares, part, codes.T, alpha=-2).argmin(1) for part in torch.split(tokens, rows)]
            return torch.cat(found).view(batch, height, width)

    def forward(self, z: Tensor) -> Tensor:
        if z.is_meta:
            return z  # the look-up needs values, and keeps the shape
        codes = self.embedding(self.nearest(z)).permute(0, 3, 1, 2).to(z.dtype)
        return z + (codes - z).detach() if z.requires_grad else codes  # type: ignore[no-any-return]


def _traced_nearest(tokens: Tensor, codes: Tensor, squares: Tensor) -> Tensor:
    """Search block by block of the codes, whose number is known where n is not: int64 (n,)."""
    lowest = index = torch.zeros(())
    for first in range(0, len(codes), _TRACED_CODES):
        block = slice(first, first + _TRACED_CODES)
        scores = squares[block] - 2 * tokens @ codes[block].T
        value, place = scores.amin(1), scores.argmin(1) + first
        index = place if first == 0 else torch.where(value < lowest, place, index)
        lowest = value if first == 0 else torch.minimum(value, lowest)
    return index


class VQAutoencoder(nn.Module):
    """See the module's contract. Parameters have the names, shapes and order of the released checkpoint."""

    role = "autoencoder"
    decodes_differences = False

    def __init__(self, config: VQAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantize = Codebook(config.codebook_size, config.embed_dim)
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    @property
    def latent_channels(self) -> int:
        """c."""
        return self.config.embed_dim

    @property
    def factor(self) -> int:
        """Image pixels a latent pixel, along a side."""
        return 1 << len(self.config.channel_mult) - 1

    def encode(self, image: Tensor) -> Tensor:
        """Return the continuous latent; an image whose sides are no multiples of 4 is padded at its end."""
        padded, _ = pad_to_multiple(image, self.factor)
        return self.quant_conv(self.encoder(padded))  # type: ignore[no-any-return]

    def decode(self, z: Tensor, quantise: bool = True) -> Tensor:
        """Return the image; ``quantise`` takes the nearest code at every position first, as the method does."""
        if quantise:
            z = self.quantize(z)
        return self.decoder(self.post_quant_conv(z))  # type: ignore[no-any-return]
