"""Networks from files: another method's, or another pre-upsampler."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lpnsr.checkpoints import read_spec
from lpnsr.checkpoints.folder import CONFIG, SPEC, WEIGHTS, load_part
from lpnsr.checkpoints.upsampler import load_upsampler
from lpnsr.errors import CheckpointError
from lpnsr.system.hashes import file_sha256
from lpnsr.system.tensor_files import read_state_dict


def load_network(path: Path, device: torch.device) -> tuple[nn.Module, str]:
    """Load a network lr (B, 3, h, w) -> (B, 3, 4h, 4w), both in [0, 1]; also return a hash of its files.

    ``path``: a checkpoint file of any 4x architecture that spandrel knows, a model folder, whose pre-upsampler is
    taken, or the folder of a pre-upsampler (config.json, model.safetensors). Raises CheckpointError, MissingExtraError.
    """
    if path.is_file():
        net, files = load_upsampler(read_state_dict(path)), [path]
    else:
        folder = _upsampler_of(path)
        net, files = load_part(folder), [folder / CONFIG, folder / WEIGHTS]
    return net.eval().requires_grad_(False).to(device), " ".join(map(file_sha256, files))


def _upsampler_of(path: Path) -> Path:
    if not (path / SPEC).is_file():
        return path
    parts = read_spec(path).parts
    if "upsampler" not in parts:
        raise CheckpointError(f"the model in {path} has no pre-upsampler")
    return path / parts["upsampler"]
