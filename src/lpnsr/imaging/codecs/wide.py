"""Images with more than 8 bits per channel: PNG and Netpbm, decoded by OpenCV; samples of any type as 16 bits."""

from __future__ import annotations

import re
from typing import BinaryIO

import numpy as np
from PIL import Image

from lpnsr.errors import ImageReadError
from lpnsr.imaging.codecs.headers import png_bit_depth
from lpnsr.imaging.photo import Array, from_unit

_NETPBM = re.compile(rb"P[2356](?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+(\d+)\s")


def is_wide(image: Image.Image, file: BinaryIO) -> bool:
    """Tell whether a file, opened but not yet loaded, has more than 8 bits per sample and is for ``read_wide``."""
    if image.format == "PPM":
        return _netpbm_maximum(file) > 255
    return image.format == "PNG" and png_bit_depth(file) == 16


def read_wide(image: Image.Image, file: BinaryIO, name: str) -> tuple[Array, Array | None]:
    """Return pixels (H, W, 1 | 3) uint16 and alpha (H, W) uint16 or None, as stored: orientation not yet applied.

    ``image`` is the same file, opened by Pillow; it supplies what OpenCV does not tell.
    """
    array = _decode(file, name)
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[2] >= 3:
        array = array[..., [2, 1, 0, 3][: array.shape[2]]]  # OpenCV stores BGR(A)
    if image.format == "PPM":
        return _netpbm_scaled(array, file), None
    array = as_uint16(array, name)
    pixels, alpha = array, None
    if array.shape[2] == 4:
        pixels, alpha = array[..., :3], np.ascontiguousarray(array[..., 3])
    file.seek(25)
    if file.read(1)[0] in (0, 4):  # colour types without colour, which OpenCV may have widened to BGR
        pixels = pixels[..., :1]
    key = image.info.get("transparency")
    if key is not None:
        opaque = (pixels != np.asarray(key, np.uint16)).any(-1)
        alpha = np.where(opaque, 65535, 0).astype(np.uint16)
    return np.ascontiguousarray(pixels), alpha


def _netpbm_maximum(file: BinaryIO) -> int:
    """Return the sample value that is white, 255 where the header names none."""
    file.seek(0)
    found = _NETPBM.match(file.read(1 << 16))
    return int(found[1]) if found else 255


def _netpbm_scaled(array: Array, file: BinaryIO) -> Array:
    most = _netpbm_maximum(file)
    wide = np.minimum(array, most).astype(np.uint32)
    return ((wide * 65535 + most // 2) // most).astype(np.uint16)


def _decode(file: BinaryIO, name: str) -> Array:
    import cv2  # only here: importing it costs more than reading most images

    file.seek(0)
    data = np.frombuffer(file.read(), np.uint8)
    try:
        array = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageReadError(f"{name}: the image data cannot be decoded: {error.err}") from None
    if array is None or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageReadError(f"{name}: the image data is damaged, or of a kind that cannot be decoded")
    return array  # type: ignore[no-any-return]


def as_uint16(array: Array, name: str) -> Array:
    """Convert integers as 16-bit values, those of 8 bits to their full range, floating-point numbers as [0, 1]."""
    if array.dtype == np.uint16:
        return array
    if array.dtype == np.uint8:
        return array.astype(np.uint16) * 257
    low, high = float(array.min()), float(array.max())
    if np.issubdtype(array.dtype, np.floating):
        if low >= -0.01 and high <= 1.01:
            return from_unit(array, np.uint16)
        allowed = "floating-point images must lie in 0..1"
    else:
        if low >= 0 and high <= 65535:
            return array.astype(np.uint16)
        allowed = "integer images must lie in 0..65535"
    raise ImageReadError(f"{name}: {array.dtype} values from {low:g} to {high:g}; {allowed}. Rescale them first")


def straight(pixels: Array, alpha: Array) -> Array:
    """Undo the multiplication of ``pixels`` by ``alpha``, both uint8 or uint16."""
    most = np.iinfo(pixels.dtype).max
    share = np.maximum(alpha, 1).astype(np.float64)[..., None] / most
    return np.rint(np.minimum(pixels / share, most)).astype(pixels.dtype)
