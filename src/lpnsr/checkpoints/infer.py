"""Tensor names and shapes of a released checkpoint -> the configuration of the network that it belongs to.

Nothing is assumed about sizes: widths, depths, heads, windows and codebooks are read off the shapes. Only what no
shape shows is fixed: GroupNorm of 32 groups, and an image size of 64 where the attention masks are absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from lpnsr.checkpoints.spec import PartName
from lpnsr.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

IMAGE_CHANNELS = 3
DEFAULT_IMAGE_SIZE = 64
LEVELS_OF_FACTOR_4 = 3


def what_is(shapes: Shapes, latent_channels: int) -> PartName | None:
    """Recognise the part whose released layout these tensors have, by a few telling ones; None if there is none."""
    if "encoder.conv_in.weight" in shapes and "quantize.embedding.weight" in shapes:
        return "autoencoder"
    if "conv_first.weight" in shapes and any(name.startswith("layers.0.residual_group.") for name in shapes):
        return "upsampler"
    # Denoiser and noise predictor have one trunk, told apart by their channels alone: from c + 3 to c (latent and
    # LR image to x0), from 2c + 3 to 2c (x_t, x0 and LR image to mean and log-variance).
    channels = trunk_channels(shapes)
    if channels == (latent_channels + IMAGE_CHANNELS, latent_channels):
        return "denoiser"
    if channels == (2 * latent_channels + IMAGE_CHANNELS, 2 * latent_channels):
        return "noise_predictor"
    return None


def trunk_channels(shapes: Shapes) -> tuple[int, int] | None:
    """Return input and output channels of a Swin-UNet; None if these are the tensors of something else."""
    first, last = shapes.get("input_blocks.0.0.weight"), shapes.get("out.2.weight")
    if first is None or last is None or len(first) != 4 or len(last) != 4:
        return None
    return first[1], last[0]


def infer(part: PartName, shapes: Shapes) -> dict[str, object]:
    """Return the configuration for ``networks.build`` from the shapes of a released ``part``.

    Raises CheckpointError naming the tensor that is missing, or saying that no network has such shapes.
    """
    readers = {"autoencoder": _autoencoder, "denoiser": _denoiser, "noise_predictor": _noise_predictor}
    try:
        return readers[part](shapes)
    except KeyError as error:
        raise CheckpointError(f"the tensor {error} is missing, which says the network's size") from None
    except (IndexError, ValueError, ZeroDivisionError):
        raise CheckpointError("the tensors have shapes that no network of this layout has") from None


def _autoencoder(shapes: Shapes) -> dict[str, object]:
    width, channels = shapes["encoder.conv_in.weight"][:2]
    levels = _count(shapes, "encoder.down")
    blocks = _count(shapes, "encoder.down.0.block")
    codes, embedding = shapes["quantize.embedding.weight"]
    if levels != LEVELS_OF_FACTOR_4:
        raise CheckpointError(f"it shrinks images {2 ** (levels - 1)}x; the chain's latents are 4x smaller")
    outputs = [shapes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in range(levels)]
    return {
        "type": "vq_autoencoder",
        "width": width,
        "image_channels": channels,
        "channel_mult": [_ratio(size, width) for size in outputs],
        "num_res_blocks": blocks,
        "z_channels": shapes["encoder.conv_out.weight"][0],
        "embed_dim": embedding,
        "codebook_size": codes,
    }


def _denoiser(shapes: Shapes) -> dict[str, object]:
    taken, given = shapes["input_blocks.0.0.weight"][1], shapes["out.2.weight"][0]
    size = {"in_channels": given, "cond_channels": taken - given, "out_channels": given}
    return {"type": "swin_unet", **size, **_trunk(shapes)}


def _noise_predictor(shapes: Shapes) -> dict[str, object]:
    taken, given = shapes["input_blocks.0.0.weight"][1], shapes["out.2.weight"][0]
    size = {"latent_channels": given // 2, "cond_channels": taken - given}
    return {"type": "noise_predictor", **size, **_trunk(shapes)}


def _trunk(shapes: Shapes) -> dict[str, object]:
    width = shapes["time_embed.0.weight"][1]
    levels, attention = _levels(shapes)
    swins = sorted(name.removesuffix("patch_embed.proj.weight") for name in shapes if "patch_embed.proj" in name)
    if not swins:
        raise CheckpointError("it has no Swin layer (no patch_embed.proj.weight)")
    swin = next((name for name in swins if name.startswith("input_blocks.")), swins[0])
    embed = shapes[f"{swin}patch_embed.proj.weight"][0]
    table, heads = shapes[f"{swin}blocks.0.attn.relative_position_bias_table"]
    window = (math.isqrt(table) + 1) // 2
    return {
        "model_channels": width,
        "channel_mult": [_ratio(channels[0], width) for channels in levels],
        "num_res_blocks": len(levels[0]),
        "swin_depth": _count(shapes, f"{swin}blocks"),
        "swin_embed_dim": embed,
        "num_head_channels": _ratio(embed, heads),
        "window_size": window,
        "mlp_ratio": shapes[f"{swin}blocks.0.mlp.fc1.weight"][0] / embed,
        "image_size": _image_size(shapes, window),
        "window_mask": "released",
        "attention_levels": None if len(attention) == len(levels) else attention,
    }


def _levels(shapes: Shapes) -> tuple[list[list[int]], list[int]]:
    """Return the output widths of the residual blocks of each level on the way down; the levels with a Swin layer."""
    levels: list[list[int]] = [[]]
    attention: list[int] = []
    for index in range(1, _count(shapes, "input_blocks")):
        stage = f"input_blocks.{index}"
        if f"{stage}.0.op.weight" in shapes:
            levels.append([])
            continue
        levels[-1].append(shapes[f"{stage}.0.in_layers.2.weight"][0])
        if f"{stage}.1.patch_embed.proj.weight" in shapes:
            attention.append(len(levels) - 1)
    return levels, attention


def _image_size(shapes: Shapes, window: int) -> int:
    """Return the input size that the stored masks were made for: one mask a window of the map they belong to."""
    level = 0
    for index in range(1, _count(shapes, "input_blocks")):
        stage = f"input_blocks.{index}"
        level += f"{stage}.0.op.weight" in shapes
        mask = shapes.get(f"{stage}.1.blocks.1.attn_mask")
        if mask is not None:
            return math.isqrt(mask[0]) * window << level
    return DEFAULT_IMAGE_SIZE


def _count(shapes: Shapes, prefix: str) -> int:
    """Return one more than the largest number n of a child ``prefix.n``; 0 if there is none."""
    start = len(prefix) + 1
    numbers = {name[start:].split(".")[0] for name in shapes if name.startswith(prefix + ".")}
    return 1 + max((int(number) for number in numbers if number.isdigit()), default=-1)


def _ratio(size: int, unit: int) -> int:
    if size % unit:
        raise ValueError(f"{size} is no multiple of {unit}")
    return size // unit
