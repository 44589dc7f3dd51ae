"""EXIF, orientation and density."""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeGuard

import numpy as np
from PIL import ExifTags, Image

from lpnsr.errors import LpnsrWarning
from lpnsr.imaging.metadata.xml import sized_ome
from lpnsr.imaging.photo import Array

ORIENTATION = int(ExifTags.Base.Orientation)
_SUB_IFDS = (int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo))
_PIXEL_X, _PIXEL_Y = 0xA002, 0xA003
# Tags of a TIFF that describe how its pixels are stored; meaningless or wrong once they are carried to
# another file.
_STORAGE_TAGS = frozenset(
    (*range(254, 260), 262, 263, 264, 265, 266, 273, *range(277, 285), 290, 291, 292, 293, 296, 301)
) | frozenset((*range(317, 326), 330, *range(332, 342), 347, *range(512, 522), *range(529, 533), 700))
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


def carried_exif(exif: Image.Exif, name: str, block: object, *, turned: bool = False) -> bytes | None:
    """Return the EXIF block to hand on: no thumbnail, no storage tags, orientation 1. None where nothing is left.

    block: the bytes that ``exif`` was read from, where they are known. turned: whether the image is, so that positions
    in it are wrong.
    """
    try:
        if _is_cut(block):
            text = f"{name}: its EXIF block is damaged or cut short, so parts of it are left out"
            warnings.warn(text, LpnsrWarning, stacklevel=2)
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
                    with suppress(KeyError):  # there is none
                        if interop := dict(exif.get_ifd(ExifTags.IFD.Interop)):  # apart in Pillow before 13
                            group[int(ExifTags.IFD.Interop)] = interop
                clean[tag] = group
        if ORIENTATION in clean:
            clean[ORIENTATION] = 1
        return clean.tobytes() if set(clean) - {ORIENTATION} else None
    except Exception as error:  # Pillow's EXIF parser raises whatever a damaged block makes it stumble over
        warnings.warn(f"{name}: its EXIF block is damaged and is left out ({error})", LpnsrWarning, stacklevel=2)
        return None


def _is_cut(block: object) -> bool:
    """Tell whether Pillow, which passes over damage, finds less in an EXIF block than it states."""
    if not isinstance(block, bytes):
        return False
    exif = Image.Exif()
    exif.load(block)
    data = block.removeprefix(b"Exif\0\0")
    order = ">" if data[:1] == b"M" else "<"

    def tags(at: int) -> set[int]:
        (count,) = struct.unpack_from(order + "H", data, at)
        return {struct.unpack_from(order + "H", data, at + 2 + 12 * i)[0] for i in range(count)}

    try:
        (first,) = struct.unpack_from(order + "I", data, 4)
        groups = {tag: int(exif[tag]) for tag in _SUB_IFDS if isinstance(exif.get(tag), int)}
        return bool(tags(first) - set(exif) or any(tags(at) - set(exif.get_ifd(tag)) for tag, at in groups.items()))
    except struct.error:
        return len(data) > 0


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
    point = _is_point(_numbers(exif, _GEO_KEYS))

    def moved(position: float, factor: float, point: bool = point) -> float:
        return (position + 0.5) * factor - 0.5 if point else position * factor

    if len(scale := _numbers(exif, _PIXEL_SCALE)) >= 2:
        exif[_PIXEL_SCALE] = (scale[0] / across, scale[1] / down, *scale[2:])
    if values := [*_numbers(exif, _TIE_POINTS)]:
        values[0::6] = [moved(value, across) for value in values[0::6]]
        values[1::6] = [moved(value, down) for value in values[1::6]]
        exif[_TIE_POINTS] = tuple(values)
    if len(matrix := _numbers(exif, _TRANSFORMATION)) == 16:
        old = np.eye(4)  # from the new pixel coordinates to the old ones
        old[0, 0], old[1, 1] = 1 / across, 1 / down
        if point:
            old[0, 3], old[1, 3] = 0.5 / across - 0.5, 0.5 / down - 0.5
        exif[_TRANSFORMATION] = tuple(float(v) for v in (np.array(matrix).reshape(4, 4) @ old).ravel())
    if len(values := [*_numbers(exif, _RATIONAL_POLYNOMIALS)]) == 92:  # offsets and scales of line and sample
        values[2:4] = moved(values[2], down, True), moved(values[3], across, True)
        values[7:9] = values[7] * down, values[8] * across
        exif[_RATIONAL_POLYNOMIALS] = tuple(values)
    description = exif.get(_DESCRIPTION)
    if _is_ome(description):
        try:
            exif[_DESCRIPTION] = sized_ome(description, before, after)
        except ValueError:
            del exif[_DESCRIPTION]


def without_positions(exif: Image.Exif) -> bool:
    """Drop a geo-reference; whether there was one."""
    found = any(tag in exif for tag in _POSITIONS)
    for tag in _GEO_TAGS:
        exif.pop(tag, None)
    return found


def _is_ome(description: object) -> TypeGuard[str]:
    return isinstance(description, str) and "<OME" in description[:2000]


def _numbers(exif: Image.Exif, tag: int) -> tuple[float, ...]:
    """Return the values of a tag, none where they are no numbers."""
    value = exif.get(tag, ())
    with suppress(TypeError, ValueError):
        return tuple(float(number) for number in (value if isinstance(value, tuple) else (value,)))
    return ()


def _is_point(keys: Sequence[float]) -> bool:
    """Tell whether the positions of a geo-reference are centres of pixels, and not their upper left corners."""
    entries = [tuple(keys[at : at + 4]) for at in range(4, len(keys) - 3, 4)]
    return any(entry[0] == _RASTER_TYPE and entry[3] == _PIXEL_IS_POINT for entry in entries)


def sized_exif(block: bytes, height: int, width: int) -> Image.Exif:
    """Return ``block`` with its record of the image's size, if it has one, set to height x width."""
    exif = Image.Exif()
    exif.load(block)
    group = exif.get_ifd(_SUB_IFDS[0])
    if _PIXEL_X in group or _PIXEL_Y in group:
        group[_PIXEL_X], group[_PIXEL_Y] = width, height
        exif[_SUB_IFDS[0]] = group
    return exif


def turned(array: Array, orientation: int) -> Array:
    """Apply the EXIF ``orientation`` (1..8; anything else counts as 1) to (H, W, ...); return a view."""
    if orientation in (5, 7):
        array = np.swapaxes(array, 0, 1)
    quarter_turns = {3: 2, 6: -1, 7: 2, 8: 1}.get(orientation, 0)
    if orientation == 2:
        array = array[:, ::-1]
    elif orientation == 4:
        array = array[::-1]
    return np.rot90(array, quarter_turns)


def clean_dpi(dpi: object) -> tuple[float, float] | None:
    """Return ``dpi`` as two sensible numbers, or None; Pillow gives 1 where a TIFF states none."""
    try:
        horizontal, vertical = (float(v) for v in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    good = all(math.isfinite(v) and 1 < v < 1e5 for v in (horizontal, vertical))
    return (horizontal, vertical) if good else None
