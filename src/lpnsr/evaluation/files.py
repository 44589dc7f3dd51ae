"""Image files as tensors for metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lpnsr.errors import ConfigError, ImageReadError
from lpnsr.imaging import READABLE, Photo, flatten, read, to_unit
from lpnsr.system.hashes import file_sha256

_COMPARE = ".compare"  # before/after pictures that ``lpnsr upscale --compare`` puts beside its results


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder by extension, sorted; hidden files and NAME.compare.png are none.

    Raises ConfigError if there is no such folder or no image in it.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder: give one with images")
    found = [path for path in sorted(folder.iterdir()) if is_image(path)]
    if not found:
        raise ConfigError(f"no images in {folder}; looked for {', '.join(READABLE)}")
    return found


def is_image(path: Path) -> bool:
    """Tell whether the name is that of an image to score."""
    return path.suffix.lower() in READABLE and path.name[0] != "." and not path.stem.lower().endswith(_COMPARE)


def read_unit(path: Path) -> Tensor:
    """Return ``unit_tensor`` of a file. Raises ImageReadError."""
    return unit_tensor(read(path))


def unit_tensor(photo: Photo) -> Tensor:
    """Return (3, H, W) float32 in [0, 1]; gray is repeated, 16 bits are kept, transparent parts are white."""
    pixels = to_unit(flatten(photo).pixels)
    return torch.from_numpy(np.repeat(pixels, 3 // pixels.shape[2], 2)).permute(2, 0, 1).contiguous()


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file. Raises ImageReadError."""
    try:
        return file_sha256(path)
    except OSError as error:
        raise ImageReadError(f"{path}: cannot be read: {error.strerror or error}") from None
