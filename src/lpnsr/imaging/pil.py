"""Photos to and from PIL images in memory."""

from __future__ import annotations

import numpy as np
from PIL import Image

from lpnsr.errors import InputError
from lpnsr.imaging.photo import Array, Photo, from_unit, to_unit
from lpnsr.imaging.reading import Opened, arrays

_NAME = "the PIL image"
_WIDE = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def from_pil(image: Image.Image) -> Photo:
    """Convert a PIL image of any mode but F, as a viewer shows it: an orientation in its EXIF is applied, once.

    The frame that the image stands at is taken. Raises InputError for float images and for 32-bit integers outside
    0..65535.
    """
    depth = _stored_depth(image)
    try:
        image.load()
    except Exception as error:  # decoders of damaged data raise anything
        raise InputError(f"the PIL image cannot be decoded: {' '.join(str(error).split())}") from None
    pixels, alpha = _wide(image) if image.mode in _WIDE else _narrow(image, depth)
    return Opened.of(image, _NAME).upright_photo(pixels, alpha)


def _stored_depth(image: Image.Image) -> int:
    """Return the bits per sample of a gray file that is not loaded yet; afterwards Pillow does not know them: 8."""
    for tile in getattr(image, "tile", ()):
        if tile.args in ("L;2", "L;4"):
            return int(tile.args[2:])
    return 8


def _wide(image: Image.Image) -> tuple[Array, None]:
    array = np.asarray(image)
    if array.size and (array.min() < 0 or array.max() > 65535):
        raise InputError(f"a PIL image of mode {image.mode} with values outside 0..65535; convert it to I;16 or L")
    return array.astype(np.uint16)[..., None], None


def _narrow(image: Image.Image, depth: int) -> tuple[Array, Array | None]:
    if image.mode == "F":
        raise InputError("a PIL image of mode F has no range of its own; give a float array in [0, 1] instead")
    return arrays(image, depth, _NAME)


def to_pil(photo: Photo) -> Image.Image:
    """Return a PIL image of mode L, LA, RGB, RGBA or, for 16-bit gray, I;16; its info holds the profile, EXIF and
    density.

    PIL has no 16-bit colour: that is rounded to 8 bits, as is 16-bit gray with alpha.
    """
    pixels, alpha = photo.pixels, photo.alpha
    if pixels.dtype == np.uint16 and not (photo.gray and alpha is None):
        pixels = from_unit(to_unit(pixels), np.uint8)
        alpha = None if alpha is None else from_unit(to_unit(alpha), np.uint8)
    if alpha is not None:
        pixels = np.concatenate([pixels, alpha[..., None]], 2)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    info = {"icc_profile": photo.icc, "exif": photo.exif, "dpi": photo.dpi}
    image.info.update({key: value for key, value in info.items() if value is not None})
    return image
