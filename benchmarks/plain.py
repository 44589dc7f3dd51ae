"""The method written down plainly, to compare with: eager PyTorch, nothing kept between calls, nothing left out.

As the released pipeline is described: the LR image is padded by reflection; attention is
softmax(q k^T + bias + mask) v with the biases gathered and the masks built in every block of every call; the
autoencoder's middle attends through an n x n matrix; the codebook's distances are one table; the noise predictor runs
at every step, also at the last, where no noise is used; large images are tiled at 256 px with stride 128.

Networks are functions of a dictionary of tensors with the released names. The pre-upsampler is spandrel's SwinIR.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr.diffusion import Schedule
from lpnsr.diffusion.process import posterior_mean
from lpnsr.networks import pad_to_multiple
from lpnsr.networks.layers.basic import timestep_embedding
from lpnsr.networks.layers.swin import window_mask

Weights = Mapping[str, Tensor]
WINDOW, HEAD = 8, 32
TILE, STRIDE = 256, 128


def conv(w: Weights, name: str, x: Tensor, stride: int = 1, padding: int | None = None) -> Tensor:
    kernel = w[f"{name}.weight"]
    padding = kernel.shape[-1] // 2 if padding is None else padding
    return F.conv2d(x, kernel, w[f"{name}.bias"], stride, padding)


def norm(w: Weights, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    return F.group_norm(x, 32, w[f"{name}.weight"], w[f"{name}.bias"], eps)


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def attention(q: Tensor, k: Tensor, v: Tensor, added: Tensor | float = 0.0) -> Tensor:
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) + added, -1) @ v


def window_attention(w: Weights, name: str, x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` (windows, N, C), ``mask`` (windows, N, N)."""
    windows, tokens, channels = x.shape
    heads = channels // HEAD
    q, k, v = linear(w, f"{name}.qkv", x).view(windows, tokens, 3, heads, HEAD).permute(2, 0, 3, 1, 4)
    index = w[f"{name}.relative_position_index"].flatten()
    bias = w[f"{name}.relative_position_bias_table"][index].view(tokens, tokens, heads).permute(2, 0, 1)
    added = bias[None] if mask is None else bias[None] + mask[:, None]
    return linear(w, f"{name}.proj", attention(q, k, v, added).transpose(1, 2).reshape(x.shape))


def swin_block(w: Weights, name: str, x: Tensor) -> Tensor:
    _, channels, height, width = x.shape
    shift = WINDOW // 2 if f"{name}.attn_mask" in w else 0
    hidden = norm(w, f"{name}.norm1", x).permute(0, 2, 3, 1)
    mask = None
    if shift:
        hidden = hidden.roll((-shift, -shift), (1, 2))
        mask = window_mask(height, width, WINDOW, "released").to(x.device)
    grid = (1, height // WINDOW, WINDOW, width // WINDOW, WINDOW, channels)
    windows = hidden.reshape(grid).transpose(2, 3).reshape(-1, WINDOW**2, channels)
    windows = window_attention(w, f"{name}.attn", windows, mask)
    hidden = windows.view(1, grid[1], grid[3], WINDOW, WINDOW, channels).transpose(2, 3).reshape(hidden.shape)
    if shift:
        hidden = hidden.roll((shift, shift), (1, 2))
    x = x + hidden.permute(0, 3, 1, 2)
    hidden = F.gelu(conv(w, f"{name}.mlp.fc1", norm(w, f"{name}.norm2", x)))
    return x + conv(w, f"{name}.mlp.fc2", hidden)


def swin_layer(w: Weights, name: str, x: Tensor) -> Tensor:
    x, (height, width) = pad_to_multiple(x, WINDOW)
    x = conv(w, f"{name}.patch_embed.proj", x)
    for index in range(2):
        x = swin_block(w, f"{name}.blocks.{index}", x)
    return conv(w, f"{name}.patch_unembed.proj", x)[..., :height, :width]


def time_block(w: Weights, name: str, x: Tensor, embedding: Tensor) -> Tensor:
    hidden = conv(w, f"{name}.in_layers.2", F.silu(norm(w, f"{name}.in_layers.0", x)))
    scale, shift = linear(w, f"{name}.emb_layers.1", F.silu(embedding))[..., None, None].chunk(2, 1)
    hidden = norm(w, f"{name}.out_layers.0", hidden) * (1 + scale) + shift
    hidden = conv(w, f"{name}.out_layers.3", F.silu(hidden))
    return (conv(w, f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in w else x) + hidden


def layer(w: Weights, name: str, x: Tensor, embedding: Tensor) -> Tensor:
    """What stands at ``name`` in the trunk, told by the names of its tensors."""
    if f"{name}.in_layers.0.weight" in w:
        return time_block(w, name, x, embedding)
    if f"{name}.patch_embed.proj.weight" in w:
        return swin_layer(w, name, x)
    if f"{name}.op.weight" in w:
        return conv(w, f"{name}.op", x, stride=2)
    if f"{name}.conv.weight" in w:
        return conv(w, f"{name}.conv", F.interpolate(x, scale_factor=2.0))
    return conv(w, name, x)


def stage(w: Weights, name: str, x: Tensor, embedding: Tensor) -> Tensor:
    index = 0
    while any(
        f"{name}.{index}.{part}weight" in w for part in ("", "in_layers.0.", "patch_embed.proj.", "op.", "conv.")
    ):
        x = layer(w, f"{name}.{index}", x, embedding)
        index += 1
    return x


def trunk(w: Weights, x: Tensor, t: int) -> Tensor:
    """The Swin-UNet on concatenated input (1, in, h, w)."""
    x, (height, width) = pad_to_multiple(x, 8)
    channels = w["time_embed.0.weight"].shape[1]
    embedding = timestep_embedding(torch.tensor([t], device=x.device), channels)
    embedding = linear(w, "time_embed.2", F.silu(linear(w, "time_embed.0", embedding)))
    levels = 1 + max(int(name.split(".")[1]) for name in w if name.startswith("input_blocks."))
    skips = []
    for index in range(levels):
        x = stage(w, f"input_blocks.{index}", x, embedding)
        skips.append(x)
    x = stage(w, "middle_block", x, embedding)
    for index in range(levels):
        x = stage(w, f"output_blocks.{index}", torch.cat([x, skips.pop()], 1), embedding)
    return conv(w, "out.2", F.silu(norm(w, "out.0", x)))[..., :height, :width]


def image_block(w: Weights, name: str, x: Tensor) -> Tensor:
    hidden = conv(w, f"{name}.conv1", F.silu(norm(w, f"{name}.norm1", x, 1e-6)))
    hidden = conv(w, f"{name}.conv2", F.silu(norm(w, f"{name}.norm2", hidden, 1e-6)))
    return (conv(w, f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in w else x) + hidden


def middle(w: Weights, name: str, x: Tensor) -> Tensor:
    x = image_block(w, f"{name}.block_1", x)
    hidden = norm(w, f"{name}.attn_1.norm", x, 1e-6)
    q, k, v = (conv(w, f"{name}.attn_1.{part}", hidden).flatten(2).transpose(1, 2) for part in "qkv")
    out = attention(q, k, v).transpose(1, 2).reshape(x.shape)  # through n x n
    return image_block(w, f"{name}.block_2", x + conv(w, f"{name}.attn_1.proj_out", out))


def encode(w: Weights, image: Tensor) -> Tensor:
    x = conv(w, "encoder.conv_in", image)
    for level in range(3):
        for block in range(2):
            x = image_block(w, f"encoder.down.{level}.block.{block}", x)
        if level < 2:
            x = conv(w, f"encoder.down.{level}.downsample.conv", F.pad(x, (0, 1, 0, 1)), stride=2, padding=0)
    x = F.silu(norm(w, "encoder.norm_out", middle(w, "encoder.mid", x), 1e-6))
    return conv(w, "quant_conv", conv(w, "encoder.conv_out", x))


def decode(w: Weights, z: Tensor) -> Tensor:
    codes = w["quantize.embedding.weight"]
    tokens = z.permute(0, 2, 3, 1).reshape(-1, codes.shape[1])
    distances = tokens.square().sum(1, keepdim=True) + codes.square().sum(1) - 2 * tokens @ codes.T
    z = codes[distances.argmin(1)].view(1, *z.shape[2:], codes.shape[1]).permute(0, 3, 1, 2)
    x = middle(w, "decoder.mid", conv(w, "decoder.conv_in", conv(w, "post_quant_conv", z)))
    for level in (2, 1, 0):
        for block in range(3):
            x = image_block(w, f"decoder.up.{level}.block.{block}", x)
        if level:
            x = conv(w, f"decoder.up.{level}.upsample.conv", F.interpolate(x, scale_factor=2.0))
    return conv(w, "decoder.conv_out", F.silu(norm(w, "decoder.norm_out", x, 1e-6)))


class PlainPipeline:
    """parts: the tensors of autoencoder, denoiser and noise_predictor; upsampler: a module or None for bicubic."""

    def __init__(self, parts: Mapping[str, Weights], upsampler: nn.Module | None, multiple: int = 64) -> None:
        self.parts, self.upsampler, self.multiple = parts, upsampler, multiple
        self.schedule = Schedule.geometric()

    @torch.inference_mode()
    def __call__(self, lr: Tensor, draw: Callable[[int, tuple[int, ...]], Tensor]) -> Tensor:
        """``lr`` (1, 3, h, w) in [0, 1] -> (1, 3, 4h, 4w) in [0, 1]."""
        lr, (height, width) = pad_to_multiple(lr, self.multiple)
        if self.upsampler is None:
            image = F.interpolate(lr, scale_factor=4.0, mode="bicubic")
        else:
            image = self.upsampler(lr)
        y0 = encode(self.parts["autoencoder"], image * 2 - 1)
        condition = lr * 2 - 1
        schedule = self.schedule
        x = y0 + schedule.noise_scale(schedule.steps) * draw(schedule.steps, tuple(y0.shape)).to(y0)
        for t in range(schedule.steps, 0, -1):
            label = schedule.label(t)
            x0 = trunk(self.parts["denoiser"], torch.cat([schedule.input_scale(t) * x, condition], 1), label)
            predicted = trunk(self.parts["noise_predictor"], torch.cat([x, x0, condition], 1), label)
            mean, log_variance = predicted.chunk(2, 1)
            noise = mean + torch.exp(log_variance.clamp(-30, 20) / 2) * draw(t - 1, tuple(y0.shape)).to(y0)
            x = posterior_mean(schedule, x, x0, t) + schedule.sigma(t) * noise  # sigma is 0 at the last step
        sr = (decode(self.parts["autoencoder"], x) + 1) / 2
        return sr.clamp(0, 1)[..., : 4 * height, : 4 * width]


def starts(length: int, tile: int = TILE, stride: int = STRIDE) -> list[int]:
    """Where the released tiles of a side begin; the last one ends with the image."""
    return [*range(0, max(0, length - tile), stride), max(0, length - tile)]


def released_pixels(height: int, width: int) -> int:
    """What the released tiling computes of an image: its sides are padded to powers of two first."""
    sides = (1 << (side - 1).bit_length() for side in (height, width))
    return math.prod(len(starts(side)) * min(side, TILE) for side in sides)


def tile_weight(height: int, width: int) -> Tensor:
    """Gaussian weights of a tile's pixels (height, width), highest in the middle."""
    rows, columns = (
        torch.exp(-((torch.arange(side) - (side - 1) / 2) ** 2) / (2 * 0.01 * side**2)) for side in (height, width)
    )
    return rows[:, None] * columns[None, :]
