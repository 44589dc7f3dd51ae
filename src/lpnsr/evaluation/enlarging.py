"""Enlargement without a chain: interpolation, and networks that are run once, such as those of other projects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lpnsr import checkpoints
from lpnsr.checkpoints import read_spec
from lpnsr.checkpoints.folder import CONFIG, WEIGHTS, load_part
from lpnsr.checkpoints.locate import is_model
from lpnsr.errors import CheckpointError
from lpnsr.evaluation.roofline import Counter
from lpnsr.imaging import resize
from lpnsr.imaging.photo import Array
from lpnsr.networks import cost
from lpnsr.system.hashes import file_sha256

START = ":start"
"""End of a name such as ``base:start``, which is the pre-upsampler of a model alone."""

_COUNTED = 64  # side of the image for which the arithmetic of a foreign network is counted


def lanczos(pixels: Array, size: tuple[int, int]) -> Array:
    """Resample (H, W, C) to ``size`` = (height, width) by Pillow's Lanczos filter of three lobes, in float32."""
    planes = [
        np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.LANCZOS))
        for plane in np.moveaxis(pixels.astype(np.float32), 2, 0)
    ]
    out = np.stack(planes, 2)
    if np.issubdtype(pixels.dtype, np.integer):
        out = out.clip(0, np.iinfo(pixels.dtype).max).round()
    return out.astype(pixels.dtype)


INTERPOLATIONS: Mapping[str, Callable[[Array, tuple[int, int]], Array]] = {"bicubic": resize, "lanczos": lanczos}
"""Ways to resample pixels to (height, width), by name."""


def load_network(name: str | Path, device: torch.device) -> tuple[nn.Module, str]:
    """Load a network lr (B, 3, h, w) -> (B, 3, 4h, 4w), both in [0, 1]; also return a hash of its files.

    ``name``: a checkpoint file of any 4x architecture that spandrel knows; a model's name or folder, whose
    pre-upsampler is taken; or the folder of a pre-upsampler (config.json, model.safetensors). Raises CheckpointError,
    MissingExtraError.
    """
    path = Path(name)
    if not path.is_dir() or is_model(str(name)):
        path = checkpoints.resolve(name)
    if path.is_file():
        net, files = checkpoints.load_file(path, 4).parts["upsampler"], [path]
    else:
        folder = _upsampler_of(path)
        net, files = load_part(folder), [folder / CONFIG, folder / WEIGHTS]
    return net.eval().requires_grad_(False).to(device), " ".join(map(file_sha256, files))


@torch.inference_mode()
def run_network(net: nn.Module, lr: Tensor, device: torch.device) -> Tensor:
    """Enlarge an image (3, h, w) in [0, 1] whole: (3, 4h, 4w) on the CPU, in whole 255ths, as its file would be."""
    sr: Tensor = net(lr[None].to(device))[0].float().cpu()
    return (sr.clamp(0, 1) * 255).round() / 255


@torch.inference_mode()
def network_flops(net: nn.Module, device: torch.device) -> float:
    """Count the FLOPs of a pre-upsampler, or of a foreign network, per LR pixel."""
    known = cost(net).flops.get("upsample")
    if known is not None:
        return known
    lr = torch.zeros(1, 3, _COUNTED, _COUNTED, device=device)
    with Counter() as counter:
        net(lr)
    return counter.work.flop / _COUNTED**2


def _upsampler_of(path: Path) -> Path:
    if not is_model(str(path)):
        return path
    parts = read_spec(path).parts
    if "upsampler" not in parts:
        raise CheckpointError(f"the model in {path} has no pre-upsampler")
    return path / parts["upsampler"]
