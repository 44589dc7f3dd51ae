"""EXIF, ICC profiles, orientation and density: what travels beside the pixels."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeGuard

import numpy as np
from PIL import ExifTags, Image, ImageCms

from lpnsr.errors import LpnsrWarning
from lpnsr.imaging.photo import Array
from lpnsr.imaging.xml import sized_ome

ORIENTATION = int(ExifTags.Base.Orientation)
_SUB_IFDS = (int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo))
_PIXEL_X, _PIXEL_Y = 0xA002, 0xA003
# Tags of a TIFF that describe how its pixels are stored; meaningless or wrong once they are carried to
# another file.
_STORAGE_TAGS = frozenset(
    (*range(254, 260), 262, 263, 264, 265, 266, 273, *range(277, 285), 290, 291, 292, 293, 296, 301)
) | frozenset((*range(317, 326), 330, 332, 338, 339, 340, 341, 347, *range(512, 522), *range(529, 533), 700))
_STORAGE_TAGS |= {33723, 34377, 34675, 37724}
_DESCRIPTION = 270
_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _GEO_KEYS, _RATIONAL_POLYNOMIALS = 33550, 33922, 34264, 34735, 50844
_GEO_TAGS = (_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _GEO_KEYS, 34736, 34737, 42112, 42113, _RATIONAL_POLYNOMIALS)
_POSITIONS = (_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _RATIONAL_POLYNOMIALS)
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2
_MEASURES = frozenset((*range(33628, 33632), 34118, 34361, 34362, 34412, 34680, 34682, 43314, 50838, 50839, 51023))
"""Private tags of microscopes and their programs, which tell how large a pixel is."""
_MEASURED = ("ImageJ=", "Aperio", "<MetaData>", "<scn")
"""Beginnings of image descriptions that do so too."""


def carried_exif(exif: Image.Exif, name: str, *, turned: bool = False) -> bytes | None:
    """The EXIF block to hand on: no thumbnail, no storage tags, orientation 1. None where nothing is left.

    turned: whether the image is, so that positions in it are wrong.
    """
    try:
        clean = Image.Exif()
        clean.endian = exif.endian  # a maker note is only readable in the byte order of its camera
        for tag, value in exif.items():
            if tag not in _STORAGE_TAGS and tag not in _SUB_IFDS:
                clean[tag] = value
        _drop_measures(clean, name)
        if turned and without_positions(clean):
            warnings.warn(f"{name}: it is turned, so its geo-reference is left out", LpnsrWarning, stacklevel=2)
        for tag in _SUB_IFDS:
            if group := dict(exif.get_ifd(tag)):
                group.pop(int(ExifTags.IFD.Interop), None)
                if tag == _SUB_IFDS[0]:
                    group |= _hidden(exif)
                clean[tag] = group
        if ORIENTATION in clean:
            clean[ORIENTATION] = 1
        return clean.tobytes() if set(clean) - {ORIENTATION} else None
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


def _drop_measures(exif: Image.Exif, name: str) -> None:
    """Drop what gives the size of a pixel in a way that cannot be adapted to another size."""
    description = exif.get(_DESCRIPTION)
    stale = [tag for tag in exif if tag in _MEASURES]
    if isinstance(description, str) and description.startswith(_MEASURED):
        stale.append(_DESCRIPTION)
    elif isinstance(description, str) and description.startswith('{"shape":'):
        del exif[_DESCRIPTION]  # how tifffile notes the size of an array
    elif _is_ome(description):  # Pillow reads it as Latin-1 and writes it in ASCII
        text = description.encode("latin-1", "replace").decode(errors="replace")
        exif[_DESCRIPTION] = text.encode("ascii", "xmlcharrefreplace").decode()
    for tag in stale:
        del exif[tag]
    if stale:
        text = f"{name}: the program that made it tells the size of a pixel in tags that are left out ({stale})"
        warnings.warn(text, LpnsrWarning, stacklevel=2)


def scaled_positions(exif: Image.Exif, before: tuple[int, int], after: tuple[int, int]) -> None:
    """Adapt a geo-reference and OME metadata to an image of size ``before`` that is resampled to ``after``."""
    down, across = after[0] / before[0], after[1] / before[1]
    point = _is_point(exif.get(_GEO_KEYS, ()))

    def moved(position: float, factor: float) -> float:
        return (position + 0.5) * factor - 0.5 if point else position * factor

    if len(scale := exif.get(_PIXEL_SCALE, ())) >= 2:
        exif[_PIXEL_SCALE] = (scale[0] / across, scale[1] / down, *scale[2:])
    if points := exif.get(_TIE_POINTS, ()):
        values = [float(value) for value in points]
        values[0::6] = [moved(value, across) for value in values[0::6]]
        values[1::6] = [moved(value, down) for value in values[1::6]]
        exif[_TIE_POINTS] = tuple(values)
    if len(matrix := exif.get(_TRANSFORMATION, ())) == 16:
        old = np.eye(4)  # from the new pixel coordinates to the old ones
        old[0, 0], old[1, 1] = 1 / across, 1 / down
        if point:
            old[0, 3], old[1, 3] = 0.5 / across - 0.5, 0.5 / down - 0.5
        exif[_TRANSFORMATION] = tuple(float(v) for v in (np.array(matrix, float).reshape(4, 4) @ old).ravel())
    description = exif.get(_DESCRIPTION)
    if _is_ome(description):
        try:
            exif[_DESCRIPTION] = sized_ome(description, before, after)
        except ValueError:
            del exif[_DESCRIPTION]


def without_measures(
    exif: Image.Exif, before: tuple[int, int] | None, after: tuple[int, int], *, keep_positions: bool
) -> bool:
    """Adapt what ``exif`` says of positions to a new size, or drop it; whether a geo-reference was dropped."""
    dropped = not keep_positions and without_positions(exif)
    if before is not None and before != after:
        scaled_positions(exif, before, after)
    return dropped


def without_positions(exif: Image.Exif) -> bool:
    """Drop a geo-reference; whether there was one."""
    found = any(tag in exif for tag in _POSITIONS)
    for tag in _GEO_TAGS:
        exif.pop(tag, None)
    return found


def _is_ome(description: object) -> TypeGuard[str]:
    return isinstance(description, str) and "<OME" in description[:2000]


def _is_point(keys: Sequence[int]) -> bool:
    """Whether the positions of a geo-reference are centres of pixels, and not their upper left corners."""
    entries = [tuple(keys[at : at + 4]) for at in range(4, len(keys) - 3, 4)]
    return any(entry[0] == _RASTER_TYPE and entry[3] == _PIXEL_IS_POINT for entry in entries)


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


def rgb_to_srgb(icc: bytes) -> Callable[[Array], Array]:
    """A function of pixels (n, W, 3) uint8 in the profile ``icc`` that gives them in sRGB."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "RGB", "RGB")

    def converted(pixels: Array) -> Array:
        image = ImageCms.applyTransform(Image.fromarray(np.ascontiguousarray(pixels)), transform)
        return np.asarray(image)

    return converted


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
