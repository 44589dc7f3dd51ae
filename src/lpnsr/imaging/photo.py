"""An image with everything that has to survive the upscaling: pixels, alpha, profile, EXIF, density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpnsr.errors import InputError
from lpnsr.imaging.metadata.extras import NO_EXTRAS, Extras

Array = NDArray[Any]
_STRIP = 1 << 22  # values converted at a time: keeps the temporary copies of big images small


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright image in memory.

    pixels: (H, W, 1) gray or (H, W, 3) RGB, uint8 or uint16, full range.
    alpha: (H, W) of the same type, straight (not premultiplied), or None where everything is opaque.
    icc: the profile that ``pixels`` are meant in; None means sRGB.
    exif: a block that starts with ``Exif\\0\\0``; its orientation is 1, for the pixels are upright.
    dpi: (horizontal, vertical) pixels per inch. format: where it came from ("PNG", "JPEG", ...).
    extras: XMP, IPTC, texts and the like.

    Raises InputError for any other shape or type.
    """

    pixels: Array
    alpha: Array | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str = "PNG"
    extras: Extras = NO_EXTRAS

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype not in (np.uint8, np.uint16) or len(shape) != 3 or shape[2] not in (1, 3) or 0 in shape:
            raise InputError(
                f"pixels of shape {shape} and type {dtype}: (H, W, 1) or (H, W, 3) uint8 or uint16 is needed"
            )
        if self.alpha is not None and (self.alpha.shape != shape[:2] or self.alpha.dtype != dtype):
            raise InputError(
                f"alpha of shape {self.alpha.shape} and type {self.alpha.dtype} does not fit pixels of shape "
                f"{shape} and type {dtype}"
            )

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def gray(self) -> bool:
        return bool(self.pixels.shape[2] == 1)


def to_unit(values: Array) -> NDArray[np.float32]:
    """Convert uint8 or uint16 to float32 in [0, 1] of the same shape."""
    return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)


def from_unit(values: Array, dtype: np.dtype[Any] | type) -> Array:
    """Convert float in [0, 1] to uint8 or uint16 of the same shape: clip, then round to the nearest."""
    top = np.iinfo(dtype).max
    out = np.empty(values.shape, dtype)
    rows = max(1, _STRIP // max(1, values[0].size)) if values.ndim else 1
    for start in range(0, len(values), rows):
        part = np.clip(values[start : start + rows], 0, 1) * np.float32(top)
        out[start : start + rows] = np.rint(part)
    return out
