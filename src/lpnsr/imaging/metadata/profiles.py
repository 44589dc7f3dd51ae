"""ICC profiles: made from the chunks of a PNG or a gray profile, reduced, checked, and applied."""

from __future__ import annotations

import struct
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms

from lpnsr.errors import LpnsrWarning
from lpnsr.imaging.photo import Array, from_unit, to_unit

_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
SRGB_CHROMATICITIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
"""x and y of white, red, green and blue."""
_PRIMARIES = {
    1: SRGB_CHROMATICITIES,
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
"""By the number that cICP has for them (ITU-T H.273)."""
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_SRGB_TRANSFER = 13
_USED = set(b"desc cprt wtpt bkpt chad rXYZ gXYZ bXYZ rTRC gTRC bTRC kTRC gamt".split())
_USED |= {way + digit for way in (b"A2B", b"B2A", b"D2B", b"B2D") for digit in (b"0", b"1", b"2", b"3")}
"""Tags that programs read."""


def from_png(chunks: dict[bytes, bytes], gray: bool) -> bytes | None:
    """Make a profile of cICP, or else of gAMA and cHRM. None for sRGB, and for what no such profile can say."""
    if b"cICP" in chunks:
        primaries, transfer, matrix, full = chunks[b"cICP"][:4]
        known = primaries in _PRIMARIES and (transfer in _GAMMAS or transfer == _SRGB_TRANSFER) and full and not matrix
        if not known or (primaries, transfer) == (1, _SRGB_TRANSFER):
            return None
        return _profile(_GAMMAS.get(transfer), _PRIMARIES[primaries], gray)
    if b"sRGB" in chunks or not {b"gAMA", b"cHRM"} & chunks.keys():
        return None
    gamma, places = None, SRGB_CHROMATICITIES
    if len(data := chunks.get(b"gAMA", b"")) == 4 and (value := int.from_bytes(data, "big")):
        gamma = 100000 / value
    if len(data := chunks.get(b"cHRM", b"")) == 32:
        places = tuple(value / 100000 for value in struct.unpack(">8I", data))  # type: ignore[assignment]
    usual = gamma is None or abs(gamma - 2.2) < 0.01
    if usual and max(abs(a - b) for a, b in zip(places, SRGB_CHROMATICITIES, strict=True)) < 0.002:
        return None  # which is how many programs say sRGB
    return _profile(gamma, places, gray)


def is_said(chunks: dict[bytes, bytes]) -> bool:
    """Tell whether ``from_png`` says all that the ``chunks`` do: it cannot say the transfer functions of HDR."""
    cicp = chunks.get(b"cICP", b"")
    return len(cicp) != 4 or tuple(cicp[:2]) == (1, _SRGB_TRANSFER) or from_png({b"cICP": cicp}, False) is not None


def gray_as_rgb(icc: bytes) -> bytes | None:
    """Make the RGB profile in which equal channels look as in the gray profile ``icc``, if it is a simple one."""
    tags = _tags(icc)
    if b"kTRC" not in tags:
        return None
    return _built(_colorants(SRGB_CHROMATICITIES) | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tags[b"kTRC"]))


def compact(icc: bytes) -> bytes:
    """Return ``icc`` without padding and private tags; as it is where that cannot be told."""
    kept = {name: data for name, data in _tags(icc).items() if name in _USED}
    head = icc[:84] + bytes(16) + icc[100:128]  # without the checksum of the whole
    return _assembled(head, kept) if kept else icc


def fitting_icc(icc: object, channels: int) -> bytes | None:
    """Return ``icc`` if it is a profile for gray (1) or RGB (3) pixels as asked, else None."""
    if isinstance(icc, bytes) and icc[36:40] == b"acsp" and icc[16:20] == (b"GRAY" if channels == 1 else b"RGB "):
        return icc
    return None


def to_srgb(pixels: Array, icc: bytes) -> Array:
    """Convert RGB or CMYK pixels (n, W, 3 | 4), uint8 or uint16, from the profile ``icc`` to sRGB."""
    from imagecodecs import CMS, cms_transform

    space = "rgb" if pixels.shape[2] == 3 else "cmyk"
    intent, flags = CMS.INTENT.RELATIVE_COLORIMETRIC, CMS.FLAGS.BLACKPOINTCOMPENSATION
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.ascontiguousarray(pixels)
    return np.asarray(
        cms_transform(pixels, icc, srgb, colorspace=space, outcolorspace="rgb", intent=intent, flags=flags)
    )


def cmyk_to_rgb(ink: Array, icc: object, name: str) -> Array:
    """Convert CMYK (n, W, 4), uint8 or uint16, to sRGB: through the embedded profile, or as (1 - ink) (1 - black)."""
    if isinstance(icc, bytes) and icc:
        try:
            return to_srgb(ink, icc)
        except (RuntimeError, ValueError) as error:
            text = f"{name}: its CMYK profile cannot be used, so the colours are approximate ({error})"
            warnings.warn(text, LpnsrWarning, stacklevel=2)
    light = 1 - to_unit(ink)
    return from_unit(light[..., :3] * light[..., 3:], ink.dtype)


def _profile(gamma: float | None, places: tuple[float, ...], gray: bool) -> bytes:
    """Make a profile; a gamma of None is that of sRGB."""
    if gamma is None:
        numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
        curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + b"".join(map(_fixed, numbers))
    else:
        curve = b"para" + bytes(4) + struct.pack(">HH", 0, 0) + _fixed(gamma)
    if gray:
        return _built({b"kTRC": curve}, b"GRAY")
    return _built(_colorants(places) | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def _colorants(places: tuple[float, ...]) -> dict[bytes, bytes]:
    """Return the XYZ of red, green and blue, adapted to D50 by Bradford's matrix."""
    white, *primaries = [
        np.array((x / y, 1.0, (1 - x - y) / y)) for x, y in zip(places[::2], places[1::2], strict=True)
    ]
    columns = np.stack(primaries, 1)
    columns = columns * np.linalg.solve(columns, white)
    cones: NDArray[np.float64] = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white)
    adapted: Array = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD @ columns
    return {name: _xyz(adapted[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}


def _xyz(values: Array) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(_fixed(float(value)) for value in values)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _built(tags: dict[bytes, bytes], space: bytes = b"RGB ") -> bytes:
    def text(words: str) -> bytes:
        data = words.encode("utf-16-be")
        return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data

    tags = {b"desc": text("as the image says"), b"cprt": text("CC0"), b"wtpt": _xyz(np.array(_D50)), **tags}
    head = bytes(8) + b"\x04\x30\0\0" + b"mntr" + space + b"XYZ " + struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp"
    head = head.ljust(68, b"\0") + _xyz(np.array(_D50))[8:]
    return _assembled(head.ljust(128, b"\0"), tags)


def _assembled(head: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, body, first = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    places: dict[bytes, int] = {}
    for name, data in tags.items():
        if data not in places:
            places[data] = first + len(body)
            body += data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", places[data], len(data))
    profile = head + table + body
    return struct.pack(">I", len(profile)) + profile[4:]


def _tags(icc: bytes) -> dict[bytes, bytes]:
    """Return the data of each tag, empty for a damaged profile."""
    try:
        (count,) = struct.unpack_from(">I", icc, 128)
        entries = [struct.unpack_from(">4sII", icc, 132 + 12 * i) for i in range(min(count, 200))]
    except struct.error:
        return {}
    return {name: icc[at : at + length] for name, at, length in entries if at + length <= len(icc)}
