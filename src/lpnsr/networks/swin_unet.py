"""The Swin-UNet: the trunk of both the denoiser and the noise predictor."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from lpnsr.diffusion import Schedule, linear_estimate, uncertainty
from lpnsr.errors import ConfigError, InputError
from lpnsr.networks.layers.basic import (
    Downsample,
    NormKind,
    SiLU,
    Upsample,
    add,
    make_norm,
    pixel_shuffle,
    pixel_unshuffle,
    timestep_embedding,
)
from lpnsr.networks.layers.padding import pad_to_multiple
from lpnsr.networks.layers.swin import MaskKind, SwinLayer, SwinShape
from lpnsr.networks.roles import IMAGE_CHANNELS, Guide
from lpnsr.system.config import StrictConfig


class TrunkConfig(StrictConfig):
    """Shape of a Swin-UNet; the defaults are the paper's (118.6 million parameters)."""

    model_channels: PositiveInt = 160
    """Width of the first level."""
    channel_mult: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 2, 4)
    """Width of each level, in units of ``model_channels``; every level halves the resolution."""
    num_res_blocks: PositiveInt = 2
    """Residual blocks a level on the way down; one more on the way up."""
    swin_depth: PositiveInt = 2
    swin_embed_dim: PositiveInt = 192
    num_head_channels: PositiveInt = 32
    window_size: Annotated[int, Field(ge=2)] = 8
    mlp_ratio: Annotated[float, Field(gt=0)] = 4.0
    image_size: PositiveInt = 64
    """Input size that the checkpoint layout is made for: levels no larger than a window do not shift."""
    patch_size: PositiveInt = 1
    """The trunk works at 1/patch_size of the resolution; pixels move into channels and back."""
    norm: NormKind = "group"
    """"group": GroupNorm, over the whole input; "pixel": over the channels of each position alone."""
    window_mask: MaskKind = "released"
    """Mask of the shifted windows: "full" separates opposite edges of the image,
    "released" is the mask that the released checkpoints were trained with, which does not."""
    attention_levels: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Levels with a Swin layer, 0 the finest; None for all. The middle has one if the last level has."""
    cond_channels: PositiveInt = IMAGE_CHANNELS
    """Channels of the condition: the LR image, the features of the pre-upsampler, and y_0 where there is room."""
    feature_channels: Annotated[int, Field(ge=0)] = 0
    """Channels of the condition that are the feature map of the pre-upsampler; 0 for none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.swin_embed_dim % self.num_head_channels:
            raise ValueError(
                f"swin_embed_dim {self.swin_embed_dim} is not a multiple of num_head_channels {self.num_head_channels}"
            )
        levels = len(self.channel_mult)
        if self.attention_levels is not None and max(self.attention_levels, default=0) >= levels:
            raise ValueError(f"attention_levels {self.attention_levels} names a level above {levels - 1}")
        return self

    def check_condition(self, latent: int) -> None:
        """Raise ValueError unless the condition has room for what is in it, beside latents of ``latent`` channels."""
        image = IMAGE_CHANNELS + self.feature_channels
        if self.cond_channels not in (image, image + latent):
            raise ValueError(
                f"cond_channels {self.cond_channels}; allowed are {image} (the LR image and the features) and "
                f"{image + latent} (the start latent too)"
            )

    def attends(self, level: int) -> bool:
        """Tell whether ``level`` has a Swin layer."""
        return self.attention_levels is None or level in self.attention_levels


class SwinUNetConfig(TrunkConfig):
    """A denoiser: state and condition in, prediction of x0 out."""

    type: Literal["swin_unet"] = "swin_unet"
    in_channels: PositiveInt = 3
    """Channels of the latent state."""
    out_channels: PositiveInt = 3
    residual: bool = False
    """Whether the network predicts x0 - y_0, y_0 being the last ``out_channels`` of the condition."""
    variance: tuple[PositiveFloat, ...] | None = None
    """Mean square of x_0 - y_0 over the training set, one a channel. With it the denoiser is preconditioned: the
    network predicts what the best linear estimate of x_0 leaves, in units of its deviation."""

    @model_validator(mode="before")
    @classmethod
    def _drop_carry(cls, values: dict[str, object]) -> dict[str, object]:
        """Drop the key ``carry: false``, which 0.1 wrote and no model used."""
        return {key: value for key, value in values.items() if (key, value) != ("carry", False)}

    @model_validator(mode="after")
    def _check_residual(self) -> Self:
        if self.in_channels != self.out_channels:
            raise ValueError(f"in_channels {self.in_channels} and out_channels {self.out_channels} have to agree")
        self.check_condition(self.in_channels)
        if self.residual and self.cond_channels <= self.out_channels:
            raise ValueError(
                f"residual needs y_0 in the condition: cond_channels {self.cond_channels} has to be above "
                f"out_channels {self.out_channels}"
            )
        if self.variance is not None and (self.residual or len(self.variance) != self.out_channels):
            raise ValueError("variance needs one value for each of out_channels, and residual: false")
        return self


class ResBlock(nn.Module):
    """Residual block whose second normalisation is scaled and shifted by the timestep embedding."""

    def __init__(self, channels: int, out_channels: int, embedding: int, norm: NormKind) -> None:
        super().__init__()
        # The empty places keep the numbering of the released checkpoints (SiLU, dropout).
        self.in_layers = nn.Sequential(
            make_norm(norm, channels), SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * out_channels))
        self.out_layers = nn.Sequential(
            make_norm(norm, out_channels), SiLU(), nn.Identity(), nn.Conv2d(out_channels, out_channels, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``x`` (B, C, h, w), ``embedding`` (B, E) -> (B, out, h, w)."""
        hidden = self.in_layers(x)
        scale, shift = self.emb_layers(embedding)[..., None, None].chunk(2, dim=1)
        hidden = self.out_layers[0](hidden) * (1 + scale) + shift
        return add(self.skip_connection(x), self.out_layers[1:](hidden))


class TimedLayers(nn.Sequential):
    """Layers in order; those that look at the timestep are given its embedding."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x, embedding) if isinstance(layer, ResBlock) else layer(x)
        return x


class SwinTrunk(nn.Module):
    """(B, in, h, w) and t (B,) -> (B, out, h, w) for any h, w >= 1.

    The last convolution starts at zero, so an untrained network predicts zero everywhere.
    Parameters and buffers have the names, shapes and order of the released checkpoints.
    """

    def __init__(self, config: TrunkConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.trunk_config = config
        cells = config.patch_size**2
        width = config.model_channels
        embedding = 4 * width
        self.time_embed = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        widths = [width * factor for factor in config.channel_mult]
        first = width * config.channel_mult[0]
        self.input_blocks = nn.ModuleList([TimedLayers(nn.Conv2d(cells * in_channels, first, 3, padding=1))])
        skips = self._build_down(widths, embedding)
        self.middle_block = self._middle(widths[-1], len(widths) - 1, embedding)
        self.output_blocks = nn.ModuleList()
        self._build_up(widths, embedding, skips)
        self.out = nn.Sequential(
            make_norm(config.norm, widths[0]), SiLU(), nn.Conv2d(widths[0], cells * out_channels, 3, padding=1)
        )
        nn.init.zeros_(self.out[2].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.out[2].bias)  # type: ignore[arg-type]

    def _swin(self, channels: int, level: int) -> SwinLayer:
        config = self.trunk_config
        shape = SwinShape(
            embed_dim=config.swin_embed_dim,
            depth=config.swin_depth,
            head_channels=config.num_head_channels,
            window=config.window_size,
            mlp_ratio=config.mlp_ratio,
            norm=config.norm,
            mask=config.window_mask,
        )
        return SwinLayer(channels, max(1, config.image_size // config.patch_size >> level), shape)

    def _build_down(self, widths: list[int], embedding: int) -> list[int]:
        """Fill ``input_blocks``; return the width of what each of them hands to the way up."""
        config, skips, channels = self.trunk_config, [widths[0]], widths[0]
        for level, width in enumerate(widths):
            for index in range(config.num_res_blocks):
                stage = TimedLayers(ResBlock(channels, width, embedding, config.norm))
                if index == 0 and config.attends(level):
                    stage.append(self._swin(width, level))
                self.input_blocks.append(stage)
                skips.append(width)
                channels = width
            if level + 1 < len(widths):
                self.input_blocks.append(TimedLayers(Downsample(width)))
                skips.append(width)
        return skips

    def _middle(self, width: int, level: int, embedding: int) -> TimedLayers:
        stage = TimedLayers(ResBlock(width, width, embedding, self.trunk_config.norm))
        if self.trunk_config.attends(level):
            stage.append(self._swin(width, level))
        return stage.append(ResBlock(width, width, embedding, self.trunk_config.norm))

    def _build_up(self, widths: list[int], embedding: int, skips: list[int]) -> None:
        """Fill ``output_blocks``, each of which takes the next skip from the end."""
        config, skips, channels = self.trunk_config, list(skips), widths[-1]
        for level, width in reversed(list(enumerate(widths))):
            for index in range(config.num_res_blocks + 1):
                stage = TimedLayers(ResBlock(channels + skips.pop(), width, embedding, config.norm))
                if index == 0 and config.attends(level):
                    stage.append(self._swin(width, level))
                if index == config.num_res_blocks and level > 0:
                    stage.append(Upsample(width))
                self.output_blocks.append(stage)
                channels = width

    def condition(self, guide: Guide) -> Tensor:
        """Make the condition (B, cond_channels, h, w): the LR image in [-1, 1], features, and y_0 where there is room.

        Raises ConfigError if it needs features and ``guide`` has none.
        """
        config = self.trunk_config
        parts = [guide.lr * 2 - 1]
        if config.feature_channels:
            if guide.features is None:
                raise ConfigError("this chain needs the features of its pre-upsampler, and there are none")
            parts.append(guide.features)
        if config.cond_channels > IMAGE_CHANNELS + config.feature_channels:
            parts.append(guide.y0)
        return torch.cat([part.to(guide.lr.dtype) for part in parts], 1) if len(parts) > 1 else parts[0]

    @property
    def feature_channels(self) -> int:
        """Channels of the feature map that it asks of the pre-upsampler."""
        return self.trunk_config.feature_channels

    def embed(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Map (B,) indices -> (B, 4 model_channels)."""
        return self.time_embed(timestep_embedding(t, self.trunk_config.model_channels).to(dtype))  # type: ignore[no-any-return]

    def compute(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Apply the network to concatenated input ``x`` (B, in, h, w) at ``embed``ded timesteps."""
        config = self.trunk_config
        x, (height, width) = pad_to_multiple(x, config.patch_size << len(config.channel_mult) - 1)
        hidden = pixel_unshuffle(x, config.patch_size) if config.patch_size > 1 else x
        skips = []
        for stage in self.input_blocks:
            hidden = stage(hidden, embedding)
            skips.append(hidden)
        hidden = self.middle_block(hidden, embedding)
        for stage in self.output_blocks:
            hidden = stage(torch.cat([hidden, skips.pop()], dim=1), embedding)
        hidden = self.out(hidden)
        hidden = pixel_shuffle(hidden, config.patch_size) if config.patch_size > 1 else hidden
        return hidden[..., :height, :width]


def join(*parts: Tensor) -> Tensor:
    """Concatenate (B, c, h, w) tensors on the channels; InputError unless batch and size agree."""
    for first, second in pairwise(parts):
        if first.shape[0] != second.shape[0] or first.shape[-2:] != second.shape[-2:]:
            shapes = ", ".join(str(tuple(part.shape)) for part in parts)
            raise InputError(f"inputs differ in batch or size: {shapes}; bring them to one size first")
    return torch.cat(parts, dim=1)


class SwinUNet(SwinTrunk):
    """Denoiser f(x, t | condition) that predicts x0.

    The condition has the spatial size of the state: the latent is as large as the LR image.
    """

    role = "denoiser"

    def __init__(self, config: SwinUNetConfig) -> None:
        super().__init__(config, config.in_channels + config.cond_channels, config.out_channels)
        self.config = config
        self.latent_channels = config.in_channels

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """``x`` (B, c, h, w) scaled, ``t`` (B,) indices, ``cond`` (B, 3, h, w) in [-1, 1] -> (B, c, h, w).

        h and w may be anything from 1. Raises InputError if sizes disagree.
        """
        output = self.compute(join(x, cond), self.embed(t, x.dtype))
        return output + cond[:, -output.shape[1] :] if self.config.residual else output

    def denoise(self, x: Tensor, labels: Tensor, guide: Guide, schedule: Schedule) -> Tensor:
        """x_0 (B, c, h, w) of scaled states ``x`` (B, c, h, w) at the steps of ``schedule`` with ``labels`` (B,)."""
        output = self(x, labels, self.condition(guide))
        if self.config.variance is None:
            return output  # type: ignore[no-any-return]
        eta, kappa, variance = self._preconditioning(x, labels, schedule)
        x_t = x * (1 + kappa**2 * eta).sqrt()
        return linear_estimate(x_t, guide.y0, eta, kappa, variance) + uncertainty(eta, kappa, variance) * output

    def error_scale(self, x: Tensor, labels: Tensor, schedule: Schedule) -> Tensor:
        """Unit of the error of ``denoise``, shaped to divide it: the deviation that the best linear estimate leaves; 1
        without preconditioning."""
        if self.config.variance is None:
            return x.new_ones(())
        return uncertainty(*self._preconditioning(x, labels, schedule))

    def _preconditioning(self, x: Tensor, labels: Tensor, schedule: Schedule) -> tuple[Tensor, float, Tensor]:
        """eta of each sample (B, 1, 1, 1), kappa, and the variance (c, 1, 1), in the precision of ``x``."""
        by_label = dict(zip(schedule.labels, schedule.etas, strict=True))
        etas = _constant(tuple(by_label.get(label, 0.0) for label in range(max(by_label) + 1)), x.device)
        variance = _constant(self.config.variance or (), x.device)[:, None, None]
        return etas[labels][:, None, None, None].to(x.dtype), schedule.kappa, variance.to(x.dtype)


@lru_cache(maxsize=16)
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Put ``values`` on a device, once, so that no step waits for them."""
    with torch.inference_mode(False):  # training may use it too
        return torch.tensor(values, device=device)


def timestep(label: int, like: Tensor) -> Tensor:
    """Repeat the index ``label`` for every sample of ``like``: (B,)."""
    return torch.full((len(like),), label, device=like.device, dtype=torch.long)
