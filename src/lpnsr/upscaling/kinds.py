"""The kinds of image that callers hand in, to and from one common form.

``unpack`` turns any of them into float RGB (3, H, W) in [0, 1] with an optional alpha, and a function that packs a
result of another size into the kind that came in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lpnsr import imaging
from lpnsr.errors import InputError
from lpnsr.imaging import Photo
from lpnsr.imaging.alpha import visible


@dataclass(frozen=True)
class Planes:
    """rgb (3, H, W) and alpha (1, H, W) or None, float32 in [0, 1] on the CPU; ``gray``: the channels are equal."""

    rgb: Tensor
    alpha: Tensor | None = None
    gray: bool = False


Pack = Callable[[Planes], Any]
_ALLOWED = "a path, PIL image, Photo, array (H, W[, 1|3|4]) or tensor ([B,] 1|3|4, H, W)"


def unpack(image: Any) -> tuple[list[Planes], Pack]:
    """The images of any accepted kind, and how to pack the restored ones (a list of one but for tensor batches).

    uint8 and uint16 count to their full range; floats are in [0, 1]. A path is read and comes back as a PIL image.
    Raises InputError for anything else, for empty images and for values that are not finite.
    """
    if isinstance(image, (str, Path, Image.Image)):
        photo = imaging.from_pil(image) if isinstance(image, Image.Image) else imaging.read(image)
        return [photo_planes(photo)], lambda planes: imaging.to_pil(pack_photo(planes, photo))
    if isinstance(image, Photo):
        return [photo_planes(image)], lambda planes: pack_photo(planes, image)
    if isinstance(image, np.ndarray):
        return [_array_planes(image)], lambda planes: _pack_array(planes, image)
    if isinstance(image, Tensor):
        return _tensor_planes(image)
    raise InputError(f"an image of type {type(image).__name__} cannot be upscaled; give {_ALLOWED}")


def photo_planes(photo: Photo) -> Planes:
    """Float planes of a photo; colours under transparent pixels are filled from their neighbourhood."""
    pixels = photo.pixels if photo.alpha is None else imaging.fill_transparent(photo.pixels, photo.alpha)
    rgb = _to_unit(pixels).permute(2, 0, 1)
    alpha = None if photo.alpha is None else _to_unit(photo.alpha)[None]
    return Planes(rgb.expand(3, -1, -1), alpha, photo.gray)


def pack_photo(planes: Planes, like: Photo) -> Photo:
    """A photo with the depth, kind and metadata of ``like``."""
    pixels, alpha = pack_pixels(planes, like.pixels.dtype)
    return replace(like, pixels=pixels, alpha=alpha)


def pack_pixels(planes: Planes, dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels (H, W, 1 | 3) and alpha (H, W) of type ``dtype``, as in ``Photo``."""
    rgb = planes.rgb.mean(0, keepdim=True) if planes.gray else planes.rgb
    alpha = None if planes.alpha is None else _from_unit(planes.alpha[0], dtype)
    return _from_unit(rgb.permute(1, 2, 0), dtype), alpha


def _array_planes(array: np.ndarray) -> Planes:
    data = array[..., None] if array.ndim == 2 else array
    if data.ndim != 3 or data.shape[2] not in (1, 3, 4):
        raise InputError(f"an array of shape {array.shape} is no image; give {_ALLOWED}")
    return _planes(_to_unit(data).permute(2, 0, 1), f"the array of shape {array.shape}")


def _pack_array(planes: Planes, like: np.ndarray) -> np.ndarray:
    merged = _merge(planes).permute(1, 2, 0)
    data = _from_unit(merged, like.dtype)
    return data[..., 0] if like.ndim == 2 else data


def _tensor_planes(tensor: Tensor) -> tuple[list[Planes], Pack]:
    batch = tensor if tensor.ndim == 4 else tensor[None]
    if batch.ndim != 4 or batch.shape[1] not in (1, 3, 4) or not len(batch):
        raise InputError(f"a tensor of shape {tuple(tensor.shape)} is no image; give {_ALLOWED}")
    host = batch.detach().cpu()
    units = _to_unit(host.numpy()) if not host.is_floating_point() else host.float()

    def pack(planes: Planes) -> Tensor:
        merged = _merge(planes)
        if not tensor.is_floating_point():
            return torch.from_numpy(_from_unit(merged, host.numpy().dtype)).to(tensor.device)
        return merged.to(tensor)

    return [_planes(unit, f"the tensor of shape {tuple(tensor.shape)}") for unit in units], pack


_ROUNDING = 1e-3
"""Largest distance of a float from [0, 1]: the rounding of resampling in float32."""


def _planes(unit: Tensor, what: str) -> Planes:
    if unit.shape[1] == 0 or unit.shape[2] == 0:
        raise InputError(f"{what} is empty")
    if not bool(torch.isfinite(unit).all()):
        raise InputError(f"{what} holds values that are not finite")
    if unit.min() < -_ROUNDING or unit.max() > 1 + _ROUNDING:
        low, high = float(unit.min()), float(unit.max())
        raise InputError(f"{what} has values from {low:g} to {high:g}; floats have to be in [0, 1]")
    unit = unit.clamp(0, 1)
    gray = unit.shape[0] == 1
    if unit.shape[0] != 4:
        return Planes(unit.expand(3, -1, -1), None, gray)
    rgb, alpha = (_from_unit(part, np.dtype(np.uint16)) for part in (unit[:3].permute(1, 2, 0), unit[3]))
    filled = _to_unit(imaging.fill_transparent(rgb, alpha)).permute(2, 0, 1)
    return Planes(torch.where(torch.from_numpy(visible(alpha)), unit[:3], filled), unit[3:])


def _merge(planes: Planes) -> Tensor:
    rgb = planes.rgb.mean(0, keepdim=True) if planes.gray else planes.rgb
    return rgb if planes.alpha is None else torch.cat([rgb, planes.alpha])


def _to_unit(array: np.ndarray) -> Tensor:
    if array.dtype == np.bool_:
        return torch.from_numpy(array.astype(np.float32))
    if np.issubdtype(array.dtype, np.floating):
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    if array.dtype not in (np.uint8, np.uint16):
        raise InputError(f"pixels of type {array.dtype} are not supported; use uint8, uint16 or floats in [0, 1]")
    return torch.from_numpy(imaging.to_unit(array))


def _from_unit(unit: Tensor, dtype: np.dtype[Any]) -> np.ndarray:
    values = unit.numpy()
    if np.issubdtype(dtype, np.floating):
        return np.ascontiguousarray(values.astype(dtype))
    if dtype == np.bool_:
        return np.ascontiguousarray(values >= 0.5)
    return imaging.from_unit(values, dtype)
