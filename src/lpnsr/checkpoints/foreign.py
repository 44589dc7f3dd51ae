"""Networks of other projects: the checkpoint file of an upsampler, used as a model or in the place of a model's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lpnsr.checkpoints.folder import LoadedModel, load_folder
from lpnsr.checkpoints.infer import DEFAULT_IMAGE_SIZE
from lpnsr.checkpoints.spec import InferenceSettings, ModelSpec, read_spec
from lpnsr.errors import CheckpointError
from lpnsr.networks import SpandrelUpsampler
from lpnsr.networks.layers.swin import relative_position_index, window_mask
from lpnsr.networks.tensors import is_derived
from lpnsr.system.tensor_files import read_state_dict

OVERLAP = 64
"""LR pixels that tiles share. Where RealESRGAN_x4plus lacks the pixels beyond, its result changes by 3 levels of 255 16
pixels away, by 1 at 32 and by less than 0.5 at 48.
"""


def load_model(path: Path) -> LoadedModel:
    """Load a model folder, or a file as a model of an upsampler alone. Raises CheckpointError, MissingExtraError."""
    return load_file(path) if path.is_file() else load_folder(path)


def spec_of(path: Path) -> ModelSpec:
    """Return the specification of a model folder, or of a file, which is loaded. Raises as ``load_model``."""
    return load_file(path).spec if path.is_file() else read_spec(path)


def load_file(path: Path, scale: int | None = None) -> LoadedModel:
    """Load the checkpoint of an upsampler of any architecture that spandrel reads. Nothing but tensors is unpickled.

    scale: see ``load_upsampler``. Raises CheckpointError, MissingExtraError.
    """
    tensors = read_state_dict(path)
    try:
        net = load_upsampler(tensors, scale)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    spec = ModelSpec(
        name=path.name,
        licence="as its publisher says",
        description=f"The network {net.config.architecture} alone, read by spandrel.",
        parts={"upsampler": "upsampler"},
        scale=net.scale,
        inference=InferenceSettings(tile_overlap=OVERLAP, tile_multiple=32),
    )
    return LoadedModel(path, spec, {"upsampler": net.eval()})


def load_upsampler(tensors: Mapping[str, Tensor], scale: int | None = 4) -> SpandrelUpsampler:
    """Return the upsampler that these tensors belong to.

    scale: that it has to have; None for any. Raises CheckpointError for another one, or if spandrel cannot load them.
    """
    net = SpandrelUpsampler.from_state_dict(with_swinir_buffers(tensors)).float()
    if scale not in (None, net.scale):
        raise CheckpointError(f"the {net.config.architecture} model enlarges {net.scale}x; {scale}x is needed")
    return net


def with_swinir_buffers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``tensors``, and if they are SwinIR's, with its computed buffers: spandrel knows SwinIR by them.

    A checkpoint may lack them. Those that it has say nothing but the image size that their masks are for.
    """
    if not any(name.startswith("layers.0.residual_group.blocks.0.attn.") for name in tensors):
        return dict(tensors)
    full = {name: tensor for name, tensor in tensors.items() if not is_derived(name)}
    masks = [tensor.shape for name, tensor in tensors.items() if name.endswith(".attn_mask")]
    for name in list(full):
        if not name.endswith(".attn.relative_position_bias_table"):
            continue
        block = name.removesuffix(".attn.relative_position_bias_table")
        window = (math.isqrt(full[name].shape[0]) + 1) // 2
        full[f"{block}.attn.relative_position_index"] = relative_position_index(window)
        size = math.isqrt(masks[0][0]) * window if masks and masks[0] else DEFAULT_IMAGE_SIZE
        if int(block.rsplit(".", 1)[-1]) % 2:
            full[f"{block}.attn_mask"] = window_mask(size, size, window, "full")
    return full
