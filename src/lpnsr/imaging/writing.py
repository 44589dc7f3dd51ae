"""Photos -> files. A file appears whole, under its name, or not at all."""

from __future__ import annotations

import errno
import io
import os
import secrets
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

try:
    import fcntl
except ImportError:  # Windows, where a file that somebody writes cannot be deleted
    fcntl = None  # type: ignore[assignment]

from lpnsr.errors import ConfigError, LpnsrWarning, OutputError
from lpnsr.imaging.deep import encode_png16, encode_tiff
from lpnsr.imaging.formats import Format, check_size, format_of
from lpnsr.imaging.metadata import fitting_icc, sized_exif
from lpnsr.imaging.photo import Array, Photo, from_unit, to_unit

_TEMPORARY = ".lpnsr-*.tmp"
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"subsampling": 0, "optimize": True},
    "WEBP": {"method": 4},
    "AVIF": {"subsampling": "4:4:4"},
}


def write(photo: Photo, path: str | os.PathLike[str], *, quality: int | None = None) -> None:
    """Write ``photo`` in the format that the extension of ``path`` names, replacing what is there.

    16 bits stay 16 bits in PNG and TIFF and are rounded to 8 elsewhere; gray stays gray except in WebP and
    AVIF; JPEG and BMP get transparent parts flattened on white, with a warning. quality: 1..100, for JPEG
    (default 95, no chroma subsampling), WebP (92) and AVIF (85). Raises OutputError.
    """
    name = os.fspath(path)
    check_size(name, photo.height, photo.width)
    if quality is not None and not 1 <= quality <= 100:
        raise ConfigError(f"quality = {quality}: a whole number from 1 to 100 is needed")
    write_bytes(name, encode(photo, format_of(name), name, quality))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Put ``data`` into the file ``path`` by an atomic rename. Raises OutputError."""
    target = Path(path)
    temporary = target.parent / _TEMPORARY.replace("*", secrets.token_hex(6))
    try:
        if target.is_dir():
            raise OutputError(f"{target}: there is a folder of this name")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                with suppress(OSError):  # some network disks have no locks
                    _lock(descriptor)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                if fcntl is not None:  # while the lock is held: an unlocked one is taken for a leftover
                    os.replace(temporary, target)  # noqa: PTH105 (the name that says atomic)
            if fcntl is None:
                os.replace(temporary, target)  # noqa: PTH105
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OutputError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(f"{target}: {_what_failed(error, target)}") from None


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise OutputError if ``path``, or a folder above it, plainly cannot be written. Ask before the work."""
    target = Path(path)
    try:
        target.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise OutputError(f"{target}: {_what_failed(error, target)}") from None
    if target.is_dir():
        raise OutputError(f"{target}: there is a folder of this name")
    folder = next(folder for folder in target.absolute().parents if folder.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{target}: no permission to write into {folder}; write elsewhere")


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Delete the temporary files of writers that were killed in ``folder``; those still at work hold a lock."""
    found: list[Path] = []
    with suppress(OSError):  # what is wrong with the folder is told by writing into it
        found.extend(Path(folder).glob(_TEMPORARY))
    for path in found:
        with suppress(OSError), path.open("rb") as file:
            _lock(file.fileno())
            path.unlink()


def _lock(descriptor: int) -> None:
    """Lock an open file until it is closed, by whatever death. Raises OSError if somebody else has."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _what_failed(error: OSError | ValueError, target: Path) -> str:
    known = {
        errno.ENOSPC: "the disk is full; make room or write elsewhere",
        errno.EDQUOT: "the disk quota is used up; make room or write elsewhere",
        errno.EROFS: "the disk is read-only; write elsewhere",
        errno.EACCES: f"no permission to write into {target.parent}",
        errno.EPERM: f"no permission to write into {target.parent}",
        errno.ENOENT: f"there is no folder {target.parent}, or nothing can be made in it; write elsewhere",
        errno.ENOTDIR: f"{target.parent} is not a folder",
        errno.ENAMETOOLONG: "the file name is too long",
    }
    return known.get(getattr(error, "errno", 0) or 0, f"cannot be written: {error}")


def encode(photo: Photo, form: Format, name: str, quality: int | None = None) -> bytes:
    """The bytes of a file of format ``form``; ``name`` is for messages. Raises OutputError."""
    if photo.alpha is not None and not form.alpha:
        message = f"{name}: {form.name} has no transparency, so transparent parts become white"
        warnings.warn(message, LpnsrWarning, stacklevel=3)
        photo = flatten(photo)
    if photo.gray and not form.gray:
        photo = replace(photo, pixels=np.repeat(photo.pixels, 3, axis=2))
    if not form.sixteen_bit:
        photo = eight_bit(photo)
    photo = replace(photo, icc=fitting_icc(photo.icc, photo.pixels.shape[2]))
    try:
        return _encode(photo, form, name, form.quality if quality is None else quality)
    except Exception as error:  # Pillow's encoders raise many kinds
        raise OutputError(f"{name}: the {form.name} encoder failed: {error}") from None


def _encode(photo: Photo, form: Format, name: str, quality: int | None) -> bytes:
    exif = sized_exif(photo.exif, photo.height, photo.width) if photo.exif else None
    samples = photo.pixels
    if photo.alpha is not None:
        samples = np.concatenate([samples, photo.alpha[..., None]], 2)
    if form.name == "TIFF":
        return encode_tiff(samples, photo.icc, exif, photo.dpi)
    block = exif.tobytes() if exif is not None else None
    if photo.pixels.dtype == np.uint16:
        return encode_png16(samples, photo.icc, block, photo.dpi)
    if form.name == "JPEG" and block is not None and len(block) > 65533:
        warnings.warn(f"{name}: the EXIF block is too long for JPEG and is left out", LpnsrWarning, stacklevel=4)
        block = None
    options = dict(_OPTIONS.get(form.name, {}))
    given = {"quality": quality, "icc_profile": photo.icc, "exif": block, "dpi": photo.dpi}
    options |= {key: value for key, value in given.items() if value is not None}
    out = io.BytesIO()
    image = _gif_image(photo) if form.name == "GIF" else _image(samples)
    image.save(out, form.name, **options)
    return out.getvalue()


def _image(samples: Array) -> Image.Image:
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)


def _gif_image(photo: Photo) -> Image.Image:
    """A palette image; GIF has 256 colours and transparency that is all or nothing."""
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
    """(H, W, 3) uint8 of any photo: 16 bits rounded, gray repeated, transparent parts on white."""
    pixels = flatten(eight_bit(photo)).pixels
    return np.repeat(pixels, 3, axis=2) if photo.gray else pixels


def _rounded(values: Array) -> Array:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
