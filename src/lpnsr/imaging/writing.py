"""Photos -> files. A file appears whole, under its name, or not at all."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from lpnsr.errors import ConfigError, LpnsrWarning, OutputError
from lpnsr.imaging.codecs.encoders import write_png, write_tiff
from lpnsr.imaging.codecs.formats import Format, check_size, format_of
from lpnsr.imaging.metadata.exif import scaled_positions, sized_exif, without_positions
from lpnsr.imaging.metadata.extras import PHOTOSHOP, Extras, photoshop_resources
from lpnsr.imaging.metadata.profiles import compact, fitting_icc, from_png, gray_as_rgb, is_said, to_srgb
from lpnsr.imaging.metadata.xml import sized_xmp
from lpnsr.imaging.photo import Array, Photo, from_unit, to_unit
from lpnsr.imaging.rows import PhotoRows, mapped, samples
from lpnsr.system.atomic import AtomicFile
from lpnsr.system.scratch import Scratch

_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"subsampling": 0},  # "optimize" holds the whole in memory, and fails where it compresses badly
    "WEBP": {"method": 4},
    "AVIF": {"subsampling": "4:4:4"},
}
_OF_RESULTS = {int(tag) for tag in (ExifTags.Base.Orientation, ExifTags.Base.Software, ExifTags.Base.ImageHistory)}
"""EXIF that is of a result itself, and no loss of the input's."""
_LARGEST_PNG_PROFILE = PngImagePlugin.MAX_TEXT_CHUNK  # beyond it Pillow, and so many others, refuse the whole file
_LARGE = 1 << 26  # pixels: JPEG files from here on are made from a disk


def write(photo: Photo, path: str | os.PathLike[str], *, quality: int | None = None) -> None:
    """Write ``photo`` in the format that the extension of ``path`` names, replacing what is there.

    16 bits stay 16 bits in PNG and TIFF and are rounded to 8 elsewhere; gray stays gray except in WebP and
    AVIF; JPEG and BMP get transparent parts flattened on white, with a warning. quality: 1..100, for JPEG
    (default 95, no chroma subsampling), WebP (92) and AVIF (85). Raises OutputError.
    """
    write_rows(PhotoRows.of(photo), path, quality=quality)


def write_rows(
    rows: PhotoRows, path: str | os.PathLike[str], *, quality: int | None = None, frugal: bool = False
) -> None:
    """Write a photo that comes row by row, as ``write`` does.

    PNG and TIFF take the rows as they come; JPEG lays large images, and all that are ``frugal``, on the disk of
    ``path`` first; the other formats need the whole in memory.
    """
    name = os.fspath(path)
    check_size(name, rows.height, rows.width)
    if quality is not None and not 1 <= quality <= 100:
        raise ConfigError(f"quality = {quality}: a whole number from 1 to 100 is needed")
    with AtomicFile(name) as atomic:
        encode_rows(rows, atomic.file, format_of(name), name, quality, frugal=frugal)
        atomic.commit()


def encode(photo: Photo, form: Format, name: str, quality: int | None = None) -> bytes:
    """Encode a photo as a file of format ``form``; ``name`` is for messages. Raises OutputError."""
    out = io.BytesIO()
    encode_rows(PhotoRows.of(photo), out, form, name, quality)
    return out.getvalue()


def encode_rows(
    rows: PhotoRows, file: BinaryIO, form: Format, name: str, quality: int | None = None, *, frugal: bool = False
) -> None:
    """Write a file of format ``form`` at the beginning of ``file``; ``name`` is its path. See ``write_rows``."""
    rows, exif = _fitting(rows, form, name)
    if form.name == "PNG":
        return write_png(rows, exif, file)
    if form.name == "TIFF":
        return write_tiff(rows, exif, file)
    options = _pillow_options(rows, exif, form, name, quality)
    if form.name == "JPEG" and _lies_on_disk(rows, frugal):
        image, target = _on_disk(rows, file, Path(name).parent)
    else:
        image, target = _in_memory(rows, form), file
    try:
        image.save(target, form.name, **options)
    except Exception as error:  # Pillow's encoders raise many kinds
        if isinstance(error, MemoryError) or getattr(error, "errno", None):
            raise
        raise OutputError(f"{name}: the {form.name} encoder failed: {error}") from None
    return None


_ENCODING = {"JPEG": 8, "WEBP": 16, "AVIF": 40, "GIF": 12, "BMP": 8}  # bytes a pixel


def encoding_bytes(rows: PhotoRows, path: str | os.PathLike[str], *, frugal: bool = False) -> int:
    """Estimate the memory that ``write_rows`` takes beside the strips."""
    form = format_of(path).name
    if form in ("PNG", "TIFF") or (form == "JPEG" and _lies_on_disk(rows, frugal)):
        return 1 << 24
    return rows.height * rows.width * _ENCODING[form]


def _lies_on_disk(rows: PhotoRows, frugal: bool) -> bool:
    return frugal or rows.height * rows.width >= _LARGE


def _fitting(rows: PhotoRows, form: Format, name: str) -> tuple[PhotoRows, Image.Exif | None]:
    """Return ``rows`` and their EXIF as a file of this format can hold them. Warns of what it cannot."""
    if rows.transparent and not form.alpha:
        _warn(f"{name}: {form.name} has no transparency, so transparent parts become white")
        rows = mapped(rows, flatten, transparent=False)
    elif rows.transparent and form.name == "GIF":
        rows = _told_of_half_transparency(rows, name)
    if "colour" not in form.holds:
        rows = _with_profile(rows, form, name)
    if rows.gray and not form.gray:
        icc = None if rows.icc is None else gray_as_rgb(rows.icc)
        if rows.icc and not icc:
            _warn(f"{name}: {form.name} has no gray, and its gray profile cannot be made one for colours: left out")
        repeated = mapped(rows, lambda strip: replace(strip, pixels=np.repeat(strip.pixels, 3, axis=2)), gray=False)
        rows = replace(repeated, icc=icc)
    if not form.sixteen_bit:
        if form.name == "AVIF" and rows.dtype == np.uint16:
            _warn(f"{name}: AVIF is written with 8 bits, of more in the input; PNG and TIFF keep 16")
        rows = mapped(rows, eight_bit, dtype=np.dtype(np.uint8))
    rows = replace(rows, icc=fitting_icc(rows.icc, 1 if rows.gray else 3))
    if form.name == "PNG" and rows.icc and len(rows.icc) > _LARGEST_PNG_PROFILE:
        rows = _with_small_profile(rows, name)
    return _with_metadata(rows, form, name)


def _told_of_half_transparency(rows: PhotoRows, name: str) -> PhotoRows:
    told = False

    def tell(strip: Photo) -> Photo:
        nonlocal told
        alpha = eight_bit(strip).alpha
        if not told and alpha is not None and ((alpha > 0) & (alpha < 255)).any():
            told = True
            _warn(f"{name}: in a GIF a pixel is transparent or not, so half-transparent ones become one or the other")
        return strip

    return mapped(rows, tell)


def _with_profile(rows: PhotoRows, form: Format, name: str) -> PhotoRows:
    """Return ``rows`` with what the chunks of a PNG say of the colours as a profile."""
    chunks = dict(rows.extras.colour)
    if not is_said(chunks):
        _warn(f"{name}: {form.name} cannot say which colours (cICP) are meant, so they look different; PNG can")
    made = from_png(chunks, rows.gray)
    if made and (rows.icc is None or b"cICP" in chunks):
        return replace(rows, icc=made)
    return rows


def _with_small_profile(rows: PhotoRows, name: str) -> PhotoRows:
    """Return ``rows`` with a profile that readers of PNG take, or with the colours of sRGB."""
    assert rows.icc is not None
    small = compact(rows.icc)
    if len(small) <= _LARGEST_PNG_PROFILE:
        return replace(rows, icc=small)
    if rows.gray:
        _warn(f"{name}: the colour profile is too large for PNG and is left out; write a .tif to keep it")
        return replace(rows, icc=None)
    _warn(f"{name}: the colour profile is too large for PNG, so the colours are converted to sRGB")
    icc = rows.icc
    return mapped(rows, lambda strip: replace(strip, pixels=to_srgb(strip.pixels, icc)), icc=None)


def _with_metadata(rows: PhotoRows, form: Format, name: str) -> tuple[PhotoRows, Image.Exif | None]:
    """Return ``rows`` and their EXIF with what the format has a place for, its sizes adapted."""
    size, extras, lost = (rows.height, rows.width), rows.extras, []
    exif = sized_exif(rows.exif, *size) if rows.exif else None
    if exif is not None:
        if "geo" not in form.holds and without_positions(exif):
            lost.append("the geo-reference")
        if extras.size not in (None, size):
            scaled_positions(exif, extras.size, size)
    if rows.dpi and form.name in ("WEBP", "AVIF"):  # which have no other place for it
        exif = Image.Exif() if exif is None else exif
        across, down = ExifTags.Base.XResolution, ExifTags.Base.YResolution
        exif[across], exif[down], exif[ExifTags.Base.ResolutionUnit] = *rows.dpi, 2
    xmp = extras.xmp
    if xmp and "xmp" in form.holds:
        try:
            xmp = sized_xmp(xmp, extras.size or size, size)
        except ValueError as error:
            _warn(f"{name}: the XMP of the input is left out: {error}")
            xmp = None
    texts = extras.texts
    if "texts" not in form.holds:
        kept = tuple(text for text in texts if text[0] == "Comment" and "comment" in form.holds)[:1]
        lost += sorted({f"the text {keyword!r}" for keyword, text in texts if (keyword, text) not in kept})
        texts = kept
    said = exif is not None and bool(set(exif) - _OF_RESULTS)
    for what, there in (("icc", rows.icc), ("exif", said), ("xmp", xmp), ("iptc", extras.iptc)):
        if there and what not in form.holds:
            lost.append({"icc": "the colour profile", "exif": "EXIF", "xmp": "XMP", "iptc": "IPTC"}[what])
    if lost:
        _warn(f"{name}: {form.name} has no place for {', '.join(lost)}: left out")
    held = {what: value for what, value in (("xmp", xmp), ("iptc", extras.iptc)) if what in form.holds}
    extras = Extras(size, held.get("xmp"), held.get("iptc"), texts, extras.colour)
    icc = rows.icc if "icc" in form.holds else None
    return replace(rows, icc=icc, extras=extras), exif if "exif" in form.holds else None


def _warn(message: str) -> None:
    warnings.warn(message, LpnsrWarning, stacklevel=6)


def _pillow_options(
    rows: PhotoRows, exif: Image.Exif | None, form: Format, name: str, quality: int | None
) -> dict[str, Any]:
    extras = rows.extras
    given: dict[str, Any] = {
        "quality": form.quality if quality is None else quality,
        "icc_profile": rows.icc,
        "exif": exif.tobytes() if exif is not None else None,
        "dpi": rows.dpi,
        "xmp": extras.xmp,
        "comment": None if extras.comment is None else extras.comment.encode(),
    }
    if form.name == "JPEG":
        if extras.iptc:
            data = PHOTOSHOP + photoshop_resources(extras.iptc)
            given["extra"] = b"\xff\xed" + (len(data) + 2).to_bytes(4, "big").lstrip(b"\0").rjust(2, b"\0") + data
        for key, what, most in (
            ("exif", "EXIF", 65533),
            ("xmp", "XMP", 65504),
            ("comment", "comment", 65533),
            ("extra", "IPTC", 65537),
        ):
            if len(given.get(key) or b"") > most:
                _warn(f"{name}: the {what} of the input is too long for JPEG and is left out")
                given[key] = None
    if form.name == "GIF" and extras.comment is not None:
        given = {"comment": given["comment"]}
    return _OPTIONS.get(form.name, {}) | {key: value for key, value in given.items() if value is not None}


def _in_memory(rows: PhotoRows, form: Format) -> Image.Image:
    photo = rows.whole()
    return _gif_image(photo) if form.name == "GIF" else _image(samples(photo))


def _on_disk(rows: PhotoRows, file: BinaryIO, folder: Path) -> tuple[Image.Image, BinaryIO]:
    """Return an image with its pixels in a scratch file, and ``file`` such that writing to it frees their memory."""
    scratch = Scratch((rows.height, rows.width, 1 if rows.gray else 4), np.uint8, folder)
    top = 0
    for strip in rows.strips:
        scratch.array[top : top + strip.height, :, : strip.pixels.shape[2]] = strip.pixels
        top += strip.height
        scratch.release()
    mode = "L" if rows.gray else "RGBX"
    image = Image.frombuffer(mode, (rows.width, rows.height), scratch.array, "raw", mode, 0, 1)
    return image, cast(BinaryIO, _Releasing(file, scratch))


class _Releasing:
    """A file that lets go of a scratch file's memory whenever it is written to."""

    def __init__(self, file: BinaryIO, scratch: Scratch) -> None:
        self._file = file
        self._scratch = scratch

    def write(self, data: bytes) -> int:
        self._scratch.release()
        return self._file.write(data)


def _image(values: Array) -> Image.Image:
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)


def _gif_image(photo: Photo) -> Image.Image:
    """Return a palette image; GIF has 256 colours and transparency that is all or nothing."""
    image = _image(photo.pixels)
    if photo.alpha is None:
        return image if photo.gray else image.quantize(256)
    image = image.convert("RGB").quantize(255)
    palette = [*(image.getpalette() or []), *[0] * 768][:768]
    indices = np.where(photo.alpha < 128, 255, np.asarray(image)).astype(np.uint8)
    image = Image.frombytes("P", image.size, indices.tobytes())
    image.putpalette(palette)
    image.info["transparency"] = 255
    return image


def flatten(photo: Photo, background: float = 1.0) -> Photo:
    """Composite ``photo`` on a gray of ``background`` in [0, 1] (1 is white) and drop its alpha."""
    if photo.alpha is None:
        return photo
    share = to_unit(photo.alpha)[..., None]
    pixels: Array = to_unit(photo.pixels) * share + background * (1 - share)
    return replace(photo, pixels=from_unit(pixels, photo.pixels.dtype), alpha=None)


def eight_bit(photo: Photo) -> Photo:
    """Round a 16-bit photo to 8 bits; an 8-bit one comes back as it is."""
    if photo.pixels.dtype == np.uint8:
        return photo
    alpha = None if photo.alpha is None else _rounded(photo.alpha)
    return replace(photo, pixels=_rounded(photo.pixels), alpha=alpha)


def rgb8(photo: Photo) -> Array:
    """Return (H, W, 3) uint8 of any photo: 16 bits rounded, gray repeated, transparent parts on white."""
    pixels = flatten(eight_bit(photo)).pixels
    return np.repeat(pixels, 3, axis=2) if photo.gray else pixels


def _rounded(values: Array) -> Array:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
