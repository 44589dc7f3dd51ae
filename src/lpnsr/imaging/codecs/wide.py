"""Images with more than 8 bits per channel, of which Pillow keeps 8 only: PNG, HEIC, AVIF and JPEG XL."""

from __future__ import annotations

import re
from typing import BinaryIO

import numpy as np
from PIL import Image

from lpnsr.errors import ImageReadError
from lpnsr.imaging.codecs.headers import png_bit_depth
from lpnsr.imaging.photo import Array, from_unit

_DEEP_AVIF = re.compile(rb"av1C\x81.([\x40-\x7f\xc0-\xff])", re.DOTALL)
"""The configuration of its decoder, where it states more than 8 bits; the sixth bit states 12."""


def is_wide(image: Image.Image, file: BinaryIO) -> bool:
    """Tell whether a file, opened but not yet loaded, has more than 8 bits per sample and is for ``read_wide``."""
    if image.format == "JXL":
        return _jpeg_xl(image, file).dtype == np.uint16 or getattr(image, "n_frames", 1) > 1
    return _bits(image, file) > 8


def _bits(image: Image.Image, file: BinaryIO) -> int:
    """Return the bits per sample of a PNG, HEIC or AVIF; 8 for others."""
    if image.format == "PNG":
        return png_bit_depth(file)
    if image.format == "AVIF":
        file.seek(0)
        deep = _DEEP_AVIF.search(file.read(1 << 16))
        return 8 if deep is None else 12 if deep[1][0] & 0x20 else 10
    return int(image.info.get("bit_depth", 8)) if image.format == "HEIF" else 8


def read_wide(image: Image.Image, file: BinaryIO, name: str) -> tuple[Array, Array | None]:
    """Return pixels (H, W, 1 | 3) uint16 and alpha (H, W) uint16 or None, as stored: orientation not yet applied.

    The first frame of an animated JPEG XL, of which Pillow's plugin gives the last, may be uint8. ``image`` is the same
    file, opened by Pillow; it supplies what the other decoders do not tell.
    """
    if image.format == "PNG":
        array = _png(file, name)
    elif image.format == "JXL":
        array = _jpeg_xl(image, file)
    else:
        bits = _bits(image, file)
        array = spread(_heic(file) >> (16 - bits) if image.format == "HEIF" else _avif(image, file), 2**bits - 1)
    array = array.reshape(*array.shape[:2], -1)
    pixels, alpha = array, None
    if array.shape[2] in (2, 4):
        pixels, alpha = array[..., :-1], np.ascontiguousarray(array[..., -1])
    key = image.info.get("transparency")
    if key is not None:
        opaque = (pixels != np.asarray(key, np.uint16)).any(-1)
        alpha = np.where(opaque, 65535, 0).astype(np.uint16)
    return np.ascontiguousarray(pixels), alpha


def _png(file: BinaryIO, name: str) -> Array:
    array = as_uint16(_decode(file, name), name)
    if array.ndim == 3:
        array = array[..., [2, 1, 0, 3][: array.shape[2]]]  # OpenCV stores BGR(A)
        file.seek(25)
        if file.read(1)[0] in (0, 4):  # colour types without colour, which OpenCV widens
            array = array[..., [0, 3]] if array.shape[2] == 4 else array[..., :1]
    return array


def _heic(file: BinaryIO) -> Array:
    from pillow_heif import open_heif

    file.seek(0)
    return np.asarray(open_heif(file, convert_hdr_to_8bit=False))


def _avif(image: Image.Image, file: BinaryIO) -> Array:
    from imagecodecs import avif_decode

    file.seek(0)
    frames = np.asarray(avif_decode(file.read()))  # asked for one of several frames, it crashes
    return frames[0] if getattr(image, "n_frames", 1) > 1 else frames


def _jpeg_xl(image: Image.Image, file: BinaryIO) -> Array:
    from imagecodecs import jpegxl_decode

    file.seek(0)
    frames = np.asarray(jpegxl_decode(file.read()))
    if np.issubdtype(frames.dtype, np.floating):
        frames = from_unit(frames, np.uint16)
    if frames.ndim > 3 or frames.shape[:2] != (image.height, image.width):
        image.n_frames = len(frames)  # type: ignore[attr-defined]  # the plugin takes all for still
        return frames[0]
    return frames


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


def spread(values: Array, most: int, dtype: type = np.uint16) -> Array:
    """Spread integers of 0..``most``, in which larger ones become ``most``, over the range of ``dtype``."""
    wide = np.minimum(values, most).astype(np.uint32)
    return ((wide * np.iinfo(dtype).max + most // 2) // most).astype(dtype)


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
