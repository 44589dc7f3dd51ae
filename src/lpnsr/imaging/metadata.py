"""EXIF, ICC profiles, orientation and density: what travels beside the pixels."""

from __future__ import annotations

import io
import math
import warnings
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

from lpnsr.errors import LpnsrWarning
from lpnsr.imaging.photo import Array

ORIENTATION = int(ExifTags.Base.Orientation)
_SUB_IFDS = (int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo))
_PIXEL_X, _PIXEL_Y = 0xA002, 0xA003
# Tags of a TIFF that describe how its pixels are stored; meaningless or wrong once they are carried to
# another file.
_STORAGE_TAGS = frozenset(
    (*range(254, 260), 262, 263, 264, 265, 266, 273, *range(277, 285), 290, 291, 292, 293, 296, 301)
) | frozenset((*range(317, 326), 330, 332, 338, 339, 340, 341, 347, *range(512, 522), *range(529, 533), 700))
_STORAGE_TAGS |= {33723, 34377, 34675, 37724}


def carried_exif(exif: Image.Exif, name: str) -> bytes | None:
    """The EXIF block to hand on: no thumbnail, no storage tags, orientation 1. None where nothing is left."""
    try:
        clean = Image.Exif()
        clean.endian = exif.endian  # a maker note is only readable in the byte order of its camera
        for tag, value in exif.items():
            if tag not in _STORAGE_TAGS and tag not in _SUB_IFDS:
                clean[tag] = value
        for tag in _SUB_IFDS:
            if group := dict(exif.get_ifd(tag)):
                group.pop(int(ExifTags.IFD.Interop), None)
                if tag == _SUB_IFDS[0]:
                    group |= _hidden(exif)
                clean[tag] = group
        if ORIENTATION in clean:
            clean[ORIENTATION] = 1
        return clean.tobytes() if len(clean) else None
    except Exception as error:  # Pillow's EXIF parser raises whatever a damaged block makes it stumble over
        warnings.warn(f"{name}: its EXIF block is damaged and is left out ({error})", LpnsrWarning, stacklevel=2)
        return None


def _hidden(exif: Image.Exif) -> dict[int, Any]:
    """What Pillow before 13 does not show among the tags of a photograph, and has under names of its own."""
    found: dict[int, Any] = {}
    with suppress(KeyError):  # there is none
        if interop := dict(exif.get_ifd(ExifTags.IFD.Interop)):
            found[int(ExifTags.IFD.Interop)] = interop
    return found


def sized_exif(block: bytes, height: int, width: int) -> Image.Exif:
    """``block`` with its record of the image's size, if it has one, set to height x width."""
    exif = Image.Exif()
    exif.load(block)
    group = exif.get_ifd(_SUB_IFDS[0])
    if _PIXEL_X in group or _PIXEL_Y in group:
        group[_PIXEL_X], group[_PIXEL_Y] = width, height
        exif[_SUB_IFDS[0]] = group
    return exif


def upright(array: Array, orientation: int) -> Array:
    """Apply the EXIF ``orientation`` (1..8; anything else counts as 1) to (H, W, ...)."""
    return np.ascontiguousarray(turned(array, orientation))


def turned(array: Array, orientation: int) -> Array:
    """``upright`` as a view of ``array``."""
    if orientation in (5, 7):
        array = np.swapaxes(array, 0, 1)
    quarter_turns = {3: 2, 6: -1, 7: 2, 8: 1}.get(orientation, 0)
    if orientation == 2:
        array = array[:, ::-1]
    elif orientation == 4:
        array = array[::-1]
    return np.rot90(array, quarter_turns)


def fitting_icc(icc: object, channels: int) -> bytes | None:
    """``icc`` if it is a profile for gray (1) or RGB (3) pixels as asked, else None."""
    if isinstance(icc, bytes) and icc[36:40] == b"acsp" and icc[16:20] == (b"GRAY" if channels == 1 else b"RGB "):
        return icc
    return None


def clean_dpi(dpi: object) -> tuple[float, float] | None:
    """``dpi`` as two sensible numbers, or None."""
    try:
        horizontal, vertical = (float(v) for v in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    good = all(math.isfinite(v) and 1 <= v < 1e5 for v in (horizontal, vertical))
    return (horizontal, vertical) if good else None


def cmyk_to_rgb(image: Image.Image, icc: Any, name: str) -> Image.Image:
    """CMYK -> sRGB through the embedded profile, or by Pillow's plain formula where none works."""
    if isinstance(icc, bytes) and icc:
        try:
            converted = ImageCms.profileToProfile(
                image,
                io.BytesIO(icc),  # type: ignore[arg-type]
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            assert converted is not None
            return converted
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            warnings.warn(
                f"{name}: its CMYK profile cannot be used, so the colours are approximate ({error})",
                LpnsrWarning,
                stacklevel=2,
            )
    return image.convert("RGB")
