"""Images with more than 8 bits per channel: PNG and TIFF, decoded by OpenCV."""

from __future__ import annotations

import warnings
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from lpnsr.errors import ImageReadError, LpnsrWarning
from lpnsr.imaging.codecs.headers import png_bit_depth
from lpnsr.imaging.photo import Array, from_unit

_BITS, _PHOTOMETRIC, _PLANAR, _EXTRA_SAMPLES = 258, 262, 284, 338
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_PREMULTIPLIED = 1


def is_wide(image: Image.Image, file: BinaryIO, name: str) -> bool:
    """Whether a PNG or TIFF, opened but not yet loaded, has more than 8 bits per sample and can be read that
    way.
    """
    if image.format == "PNG":
        return png_bit_depth(file) == 16
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    tags = image.tag_v2
    bits = tags.get(_BITS, (1,))
    if max(bits if isinstance(bits, tuple) else (bits,)) <= 8:
        return False
    usual = tags.get(_PHOTOMETRIC) in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB) and tags.get(_PLANAR, 1) == 1
    if not usual:
        warnings.warn(
            f"{name}: its colour layout is read in 8 bits per channel only",
            LpnsrWarning,
            stacklevel=2,
        )
    return usual


def read_wide(image: Image.Image, file: BinaryIO, name: str) -> tuple[Array, Array | None]:
    """Pixels (H, W, 1 | 3) uint16 and alpha (H, W) uint16 or None, as stored: orientation not yet applied.

    ``image`` is the same file, opened by Pillow; it supplies what OpenCV does not tell.
    """
    array = _decode(file, name)
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[2] >= 3:
        array = array[..., [2, 1, 0, 3][: array.shape[2]]]  # OpenCV stores BGR(A)
    array = _as_uint16(array, name)
    pixels, alpha = array, None
    if array.shape[2] == 4:
        pixels, alpha = array[..., :3], np.ascontiguousarray(array[..., 3])
    if image.format == "PNG":
        file.seek(25)
        if file.read(1)[0] in (0, 4):  # colour types without colour, which OpenCV may have widened to BGR
            pixels = pixels[..., :1]
        key = image.info.get("transparency")
        if key is not None:
            opaque = (pixels != np.asarray(key, np.uint16)).any(-1)
            alpha = np.where(opaque, 65535, 0).astype(np.uint16)
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            pixels = 65535 - pixels
        if alpha is not None and _PREMULTIPLIED in _as_tuple(image.tag_v2.get(_EXTRA_SAMPLES)):
            pixels = _straight(pixels, alpha)
    return np.ascontiguousarray(pixels), alpha


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


def _as_uint16(array: Array, name: str) -> Array:
    """Integers are taken as 16-bit values, floating-point numbers as [0, 1]."""
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


def _straight(pixels: Array, alpha: Array) -> Array:
    """Undo the multiplication of ``pixels`` by ``alpha``."""
    share = np.maximum(alpha, 1).astype(np.float64)[..., None] / 65535
    return np.rint(np.minimum(pixels / share, 65535)).astype(np.uint16)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)
