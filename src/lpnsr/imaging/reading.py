"""Files -> photos. The content decides what a file is, never its name; whatever goes wrong is one
ImageReadError.

Pillow decodes everything but 16-bit PNG and TIFF, of which it keeps 8 bits only; those go through OpenCV.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from lpnsr.errors import ConfigError, ImageReadError, ImageTooLargeError, LpnsrError, LpnsrWarning
from lpnsr.imaging.codecs.formats import FORMATS
from lpnsr.imaging.codecs.headers import check_jpeg, check_png, png_bit_depth
from lpnsr.imaging.codecs.wide import is_wide, read_wide
from lpnsr.imaging.metadata import ORIENTATION, carried_exif, clean_dpi, cmyk_to_rgb, fitting_icc, upright
from lpnsr.imaging.photo import Array, Photo

MAX_PIXELS_VARIABLE = "LPNSR_MAX_PIXELS"
DEFAULT_MAX_PIXELS = 89_478_485  # Pillow's own limit, for images that are read into memory
DEFAULT_MAX_PIXELS_OF_ROWS = 400_000_000  # 20,000 x 20,000
TRANSPOSED = (5, 6, 7, 8)
GRAY_MODES = ("1", "L", "LA", "La")


def max_pixels_allowed(value: int | None = None, default: int = DEFAULT_MAX_PIXELS) -> int:
    """The largest input in pixels: ``value``, else the environment's LPNSR_MAX_PIXELS, else ``default``."""
    text = os.environ.get(MAX_PIXELS_VARIABLE, "").strip()
    if value is None and text:
        try:
            value = int(text)
        except ValueError:
            raise ConfigError(f"{MAX_PIXELS_VARIABLE}={text!r}: a whole number of pixels is needed") from None
    if value is not None and value < 1:
        raise ConfigError(f"a limit of {value} pixels leaves nothing to read; at least 1 is needed")
    return default if value is None else value


def read(path: str | os.PathLike[str], *, max_pixels: int | None = None) -> Photo:
    """Read an image file, upright, in 8 or 16 bits; of several frames or pages the first, with an LpnsrWarning.

    PNG, JPEG, WebP, TIFF, BMP, GIF and AVIF. Palettes, 1-bit, CMYK, Lab and the like become gray or RGB.
    max_pixels: see ``max_pixels_allowed``, 89 million by default; it is checked before anything is decoded.
    Raises ImageReadError, which says what is wrong with the file.
    """
    name = os.fspath(path)
    limit = max_pixels_allowed(max_pixels)
    with told(name), open_file(Path(name)) as file:
        return decode(open_image(file, name, limit), file, name)


@contextmanager
def told(name: str) -> Iterator[None]:
    """What decoders raise at damaged data (anything) becomes an ImageReadError."""
    try:
        yield
    except LpnsrError:
        raise
    except MemoryError:
        raise ImageReadError(f"{name}: not enough memory to decode it") from None
    except Exception as error:
        raise ImageReadError(
            f"{name}: the image data is damaged or cut short: {_reason(error)}. Get the file again"
        ) from None


def open_file(path: Path) -> BinaryIO:
    """A file that may be an image. Raises ImageReadError."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageReadError(f"{path}: this is a folder; give an image file")
        if not stat.S_ISREG(status.st_mode):
            raise ImageReadError(f"{path}: this is a device or pipe; give an image file")
        if status.st_size == 0:
            raise ImageReadError(f"{path}: the file is empty (0 bytes)")
        return path.open("rb")
    except ImageReadError:
        raise
    except FileNotFoundError:
        raise ImageReadError(f"{path}: there is no such file") from None
    except PermissionError:
        raise ImageReadError(f"{path}: no permission to read it; check the rights of the file and folder") from None
    except (OSError, ValueError) as error:
        raise ImageReadError(f"{path}: cannot be opened: {error}") from None


def open_image(file: BinaryIO, name: str, limit: int) -> Image.Image:
    """What Pillow makes of the header; nothing is decoded. Raises ImageReadError, also above ``limit`` pixels."""
    if Image.MAX_IMAGE_PIXELS is not None and limit > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limit  # the caller asked for more than Pillow's guard lets through
    try:
        image = Image.open(file, formats=list(FORMATS))
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(name, f"it declares {int(pixels[0]):,} pixels" if pixels else "it is huge", limit) from None
    except UnidentifiedImageError:
        raise ImageReadError(f"{name}: {_what_it_is(file)}") from None
    except Exception as error:  # decoders of damaged headers raise anything, SyntaxError and struct.error included
        raise ImageReadError(f"{name}: the image header is damaged: {_reason(error)}") from None
    width, height = image.size
    if width * height > limit:
        raise _too_large(name, f"it declares {width} x {height} = {width * height:,} pixels", limit)
    return image


def decode(image: Image.Image, file: BinaryIO, name: str) -> Photo:
    """The photo of an image that was opened. Raises whatever the decoders do."""
    wide = is_wide(image, file, name)
    depth = png_bit_depth(file) if image.format == "PNG" else 8
    if image.format == "PNG":
        check_png(file, image.size, name)
    elif image.format in ("JPEG", "MPO"):
        check_jpeg(image.size, os.fstat(file.fileno()).st_size, name)
    image.load()  # Pillow also judges the files that OpenCV decodes: OpenCV lets some damage pass in silence
    pixels, alpha = read_wide(image, file, name) if wide else arrays(image, depth, name)
    photo = upright_photo(image, pixels, alpha, name)
    tell_of_others(image, name)  # last: looking for them moves the file
    return photo


def upright_photo(image: Image.Image, pixels: Array, alpha: Array | None, name: str) -> Photo:
    """The photo of a loaded image with ``pixels`` and ``alpha`` as they are stored: turned, with its metadata."""
    # Both decoders turn a TIFF themselves, and Pillow then forgets its tag.
    turn = orientation(image)
    return Photo(
        pixels=upright(pixels, turn),
        alpha=None if alpha is None else upright(alpha, turn),
        **carried(image, pixels.shape[2], name),
    )


def carried(image: Image.Image, channels: int, name: str) -> dict[str, Any]:
    """The fields of a photo that are no pixels."""
    dpi = clean_dpi(image.info.get("dpi"))
    return {
        "icc": fitting_icc(image.info.get("icc_profile"), channels),
        "exif": carried_exif(image.getexif(), name),
        "dpi": (dpi[1], dpi[0]) if dpi and orientation(image) in TRANSPOSED else dpi,
        "format": {"MPO": "JPEG"}.get(image.format or "", image.format or "PNG"),
    }


def tell_of_others(image: Image.Image, name: str) -> None:
    """Warn of frames or pages that are left out. Not of MPO: beside a camera's JPEG lie previews and gain maps."""
    if image.format == "MPO":
        return
    try:
        count = getattr(image, "n_frames", 1)
    except Exception:  # decoders of damaged frames raise anything, and the first frame has been read
        return
    if count > 1:
        what = "pages" if image.format == "TIFF" else "frames"
        warnings.warn(f"{name} has {count} {what}: only the first is used", LpnsrWarning, stacklevel=2)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or it is no number."""
    try:
        return int(image.getexif().get(ORIENTATION, 1) or 1)
    except (TypeError, ValueError):
        return 1


def arrays(image: Image.Image, depth: int, name: str) -> tuple[Array, Array | None]:
    """Pixels (H, W, 1 | 3) uint8 and alpha (H, W) or None of a loaded image with 8 bits or less."""
    key = image.info.get("transparency")
    if image.mode == "L" and depth in (2, 4) and isinstance(key, int):
        image.info["transparency"] = key * (255 // (2**depth - 1))  # Pillow scales the pixels, but not the key
    gray = image.mode in GRAY_MODES
    if image.mode == "CMYK":
        image = cmyk_to_rgb(image, image.info.get("icc_profile"), name)
    elif image.mode in ("La", "RGBa"):
        image = image.convert("LA" if gray else "RGBA")
    if image.has_transparency_data:
        array = np.asarray(image.convert("LA" if gray else "RGBA"))
        return np.ascontiguousarray(array[..., :-1]), np.ascontiguousarray(array[..., -1])
    mode = "L" if gray else "RGB"
    array = np.array(image if image.mode == mode else image.convert(mode))
    return array[..., None] if gray else array, None


def _too_large(name: str, what: str, limit: int) -> ImageTooLargeError:
    return ImageTooLargeError(
        f"{name}: {what}, more than the limit of {limit:,}. If you trust the file, raise the limit with "
        f"--max-pixels or the environment variable {MAX_PIXELS_VARIABLE}"
    )


def _what_it_is(file: BinaryIO) -> str:
    """A sentence for a file in which no decoder sees an image."""
    file.seek(0)
    head = file.read(16)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "a TIFF of a kind that cannot be read; save it with 8 or 16 bits per channel, interleaved"
    if head[4:8] == b"ftyp":
        return "a HEIC or similar file, which cannot be read; save it as JPEG or PNG first"
    for signature, kind in ((b"\x89PNG", "PNG"), (b"\xff\xd8", "JPEG"), (b"GIF8", "GIF"), (b"BM", "BMP")):
        if head.startswith(signature):
            return f"it starts like a {kind} file, but its header is damaged or cut short"
    return f"the content is not an image that can be read; {', '.join(FORMATS)} can"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
