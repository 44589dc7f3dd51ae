"""Files -> photos. The content decides what a file is, never its name; whatever goes wrong is one
ImageReadError.

tifffile decodes most of TIFF, numpy Netpbm, Pillow the rest; but of more than 8 bits, other libraries do: see ``wide``.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from lpnsr.errors import ConfigError, ImageReadError, ImageTooLargeError, LpnsrError, LpnsrWarning
from lpnsr.imaging.codecs import foreign, netpbm, png_chunks, tiff
from lpnsr.imaging.codecs.formats import FORMATS, READ_ONLY
from lpnsr.imaging.codecs.headers import check_jpeg, check_jpeg_in_tiff, check_png, jpeg_kind, png_bit_depth
from lpnsr.imaging.codecs.wide import is_wide, read_wide
from lpnsr.imaging.metadata.exif import ORIENTATION, carried_exif, clean_dpi, turned
from lpnsr.imaging.metadata.extras import extras_of
from lpnsr.imaging.metadata.profiles import cmyk_to_rgb, fitting_icc
from lpnsr.imaging.photo import Array, Photo
from lpnsr.imaging.rows import PhotoRows

MAX_PIXELS_VARIABLE = "LPNSR_MAX_PIXELS"
DEFAULT_MAX_PIXELS = 89_478_485  # Pillow's own limit, for images that are read into memory
DEFAULT_MAX_PIXELS_OF_ROWS = 400_000_000  # 20,000 x 20,000
TRANSPOSED = (5, 6, 7, 8)
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
GRAY_MODES = ("1", "L", "LA", "La")


def max_pixels_allowed(value: int | None = None, default: int = DEFAULT_MAX_PIXELS) -> int:
    """Return the largest input in pixels: ``value``, else the environment's LPNSR_MAX_PIXELS, else ``default``."""
    text = os.environ.get(MAX_PIXELS_VARIABLE, "").strip()
    if value is None and text:
        try:
            value = int(text)
        except ValueError:
            raise ConfigError(f"{MAX_PIXELS_VARIABLE}={text!r}: a whole number of pixels is needed") from None
    if value is not None and value < 1:
        raise ConfigError(f"a limit of {value} pixels leaves nothing to read; at least 1 is needed")
    return default if value is None else value


@dataclass
class Opened:
    """An image file whose header was read.

    file: positioned anywhere; what decoders stumble over is left out of it. height, width: as stored.
    image: as Pillow opened it. decoder: of a TIFF or Netpbm file that Pillow is not to decode; one of both is None.
    info: as that of a PIL image; ``texts`` and ``colour`` are as in ``Extras``.
    """

    file: BinaryIO
    name: str
    format: str
    height: int
    width: int
    exif: Image.Exif
    info: dict[str, Any] = field(default_factory=dict)
    image: Image.Image | None = None
    decoder: tiff.TiffFile | netpbm.NetpbmFile | None = None
    others: str | None = None

    @classmethod
    def of(cls, image: Image.Image, name: str, file: BinaryIO | None = None) -> Self:
        """Describe an image that Pillow opened."""
        info = {str(key): value for key, value in image.info.items()}
        size, exif = (image.height, image.width), Image.Exif()
        with suppress(SyntaxError):  # of a block that is no EXIF; ``carried_exif`` tells
            exif = image.getexif()
        return cls(file or BytesIO(), name, image.format or "PNG", *size, exif, info, image)

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1 where there is none or it is no number."""
        try:
            return int(self.exif.get(ORIENTATION, 1) or 1)
        except (TypeError, ValueError):
            return 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) as displayed."""
        return (self.width, self.height) if self.orientation in TRANSPOSED else (self.height, self.width)

    def carried(self, channels: int) -> dict[str, Any]:
        """Return the fields of a photo that are no pixels."""
        dpi, given = clean_dpi(self.info.get("dpi")), self.info.get("icc_profile")
        icc = fitting_icc(given, channels)
        if given and not icc and given[16:20] not in (b"CMYK", b"Lab "):  # by which the pixels were converted
            text = f"{self.name}: its colour profile is damaged, or not one for {'gray' if channels == 1 else 'RGB'}"
            warnings.warn(f"{text}, and is left out", LpnsrWarning, stacklevel=2)
        return {
            "icc": icc,
            "exif": carried_exif(self.exif, self.name, self.info.get("exif"), turned=self.orientation != 1),
            "dpi": (dpi[1], dpi[0]) if dpi and self.orientation in TRANSPOSED else dpi,
            "format": {"MPO": "JPEG"}.get(self.format, self.format),
            "extras": extras_of(self.info, self.upright_size),
        }

    def upright_photo(self, pixels: Array, alpha: Array | None) -> Photo:
        """Return the photo with ``pixels`` and ``alpha`` as they are stored: turned, with its metadata."""
        pixels = np.ascontiguousarray(turned(pixels, self.orientation))
        alpha = None if alpha is None else np.ascontiguousarray(turned(alpha, self.orientation))
        return Photo(pixels, alpha, **self.carried(pixels.shape[2]))

    def tell_of_others(self) -> None:
        """Warn of frames or pages that are left out. Not of MPO: a camera's JPEG has previews and gain maps beside."""
        if self.others is None and self.format != "MPO":
            count = 1
            with suppress(Exception):  # decoders of damaged frames raise anything, and the first frame has been read
                count = getattr(self.image, "n_frames", 1)
            if count > 1:
                self.others = f"{count} frames: only the first is used"
        if self.others:
            warnings.warn(f"{self.name} has {self.others}", LpnsrWarning, stacklevel=2)


def read(path: str | os.PathLike[str], *, max_pixels: int | None = None) -> Photo:
    """Read an image file, upright, in 8 or 16 bits; of several frames or pages one, with an LpnsrWarning.

    PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF and Netpbm, and with their extras HEIC and JPEG XL. Palettes, 1-bit, CMYK, Lab
    and the like become gray or RGB.
    max_pixels: see ``max_pixels_allowed``, 89 million by default; it is checked before anything is decoded.
    Raises ImageReadError, which says what is wrong with the file.
    """
    with opened(path, max_pixels_allowed(max_pixels)) as source:
        return decode(source)


def header_size(path: Path, name: str, limit: int) -> tuple[int, int]:
    """Return (height, width) of the upright image ``path``; nothing is decoded. Raises ImageReadError."""
    with opened(path, limit, name=name, again=True) as source:
        return source.upright_size


@contextmanager
def opened(
    path: str | os.PathLike[str], limit: int, *, name: str | None = None, again: bool = False
) -> Iterator[Opened]:
    """Open an image file of up to ``limit`` pixels without decoding it. Whatever goes wrong is an ImageReadError.

    name: what messages call it. again: what was wrong with its header was told already, or will be.
    """
    name = os.fspath(path) if name is None else name
    with told(name), open_file(Path(path)) as file:
        head = file.read(1 << 10)
        if head.startswith(png_chunks.SIGNATURE):
            source = _open_png(file, name, limit, again)
        elif head.startswith(tiff.SIGNATURES):
            source = _open_tiff(file, name, limit, again)
        elif netpbm.SIGNATURE.match(head):
            pnm = netpbm.NetpbmFile(file, name)
            _check_pixels(pnm.width, pnm.height, limit, name)
            source = Opened(file, name, "PPM", pnm.height, pnm.width, Image.Exif(), {}, None, pnm)
        else:
            form = foreign.plugin_format(head)
            if form:
                foreign.need_plugin(form, name)
            image = _open_image(file, name, limit)
            if form == "JXL":
                for key, value in foreign.metadata_of(file, name).items():
                    image.info.setdefault(key, value)
            source = Opened.of(image, name, file)
            source.info.setdefault("colour", foreign.colour_of(file) if "icc_profile" not in source.info else ())
            segments = getattr(source.image, "applist", ())
            if not again and any(data.startswith(_EXTENDED_XMP) for _, data in segments):
                text = f"{name}: its extended XMP, which is behind the main one, is left out"
                warnings.warn(text, LpnsrWarning, stacklevel=2)
            if form and not getattr(source.image, "jpeg", False):
                source.exif.pop(ORIENTATION, None)  # the decoder has turned it
        with source.file:
            yield source


def _open_png(file: BinaryIO, name: str, limit: int, again: bool) -> Opened:
    chunks = png_chunks.read_chunks(file)
    if chunks.left_out and not again:
        left_out = ", ".join(chunks.left_out)
        warnings.warn(f"{name}: parts beside the pixels are left out: {left_out}", LpnsrWarning, stacklevel=2)
    image = _open_image(chunks.file, name, limit)
    info = chunks.info | {"texts": chunks.texts, "colour": chunks.colour}
    image.info.update({"exif": b""} | {key: info[key] for key in ("exif", "xmp") if key in info})
    return replace(Opened.of(image, name, chunks.file), info=info)


def _open_tiff(file: BinaryIO, name: str, limit: int, again: bool) -> Opened:
    file, number, count = tiff.picture_page(file, name)
    decoder, image = None, None
    with suppress(Exception):  # what tifffile does not understand, Pillow may
        decoder = tiff.TiffFile(file, name)
    if decoder is not None and decoder.readable:
        _check_pixels(decoder.width, decoder.height, limit, name)
        exif, info = decoder.exif(), decoder.info()
        source = Opened(file, name, "TIFF", decoder.height, decoder.width, exif, info, None, decoder)
    else:
        try:
            image = _open_image(file, name, limit)
        except ImageTooLargeError:
            raise
        except ImageReadError:
            raise ImageReadError(f"{name}: {tiff.unreadable(file)}") from None
        tiff.mend_palette(image)
        source = Opened.of(image, name, file)
    if count > 1 or number != 1:
        which = f"page {number}" if number > 1 else "the full-size one" if number == 0 else "the first"
        source.others = f"{count} pages: only {which} is used" if count > 1 else ""
    if count > 1 and tiff.drop_ome(source.exif) and not again:
        warnings.warn(f"{name}: its OME metadata is of all pages and is left out", LpnsrWarning, stacklevel=2)
    return source


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turn whatever decoders raise at damaged data into an ImageReadError."""
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
    """Open a file that may be an image. Raises ImageReadError."""
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


def _open_image(file: BinaryIO, name: str, limit: int) -> Image.Image:
    """Open an image with Pillow; nothing is decoded. Raises ImageReadError, also above ``limit`` pixels."""
    if Image.MAX_IMAGE_PIXELS is not None and limit > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limit  # the caller asked for more than Pillow's guard lets through
    file.seek(0)
    Image.init()
    try:
        image = Image.open(file, formats=[*FORMATS, *(form for form in READ_ONLY if form in Image.OPEN)])
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(name, f"it declares {int(pixels[0]):,} pixels" if pixels else "it is huge", limit) from None
    except UnidentifiedImageError:
        raise ImageReadError(f"{name}: {_what_it_is(file)}") from None
    except Exception as error:  # decoders of damaged headers raise anything, SyntaxError and struct.error included
        raise ImageReadError(f"{name}: the image header is damaged: {_reason(error)}") from None
    _check_pixels(*image.size, limit, name)
    return image


def _check_pixels(width: int, height: int, limit: int, name: str) -> None:
    if width * height > limit:
        raise _too_large(name, f"it declares {width} x {height} = {width * height:,} pixels", limit)


def decode(source: Opened) -> Photo:
    """Decode an image that was opened. Raises whatever the decoders do."""
    image, file, name = source.image, source.file, source.name
    if source.decoder is not None:
        strips = source.decoder.strips(source.info.get("icc_profile"))
        stored = PhotoRows(source.height, source.width, *source.decoder.kind, strips).whole()
        photo = source.upright_photo(stored.pixels, stored.alpha)
    else:
        assert image is not None
        wide = is_wide(image, file)
        depth = png_bit_depth(file) if image.format == "PNG" else 8
        check(source)
        image.load()  # Pillow also judges the files that OpenCV decodes: OpenCV lets some damage pass in silence
        pixels, alpha = read_wide(image, file, name) if wide else arrays(image, depth, name)
        if image.format == "TIFF":
            source.exif.pop(ORIENTATION, None)  # Pillow turns a TIFF itself
        photo = source.upright_photo(pixels, alpha)
    source.tell_of_others()  # last: looking for them moves the file
    return photo


def check(source: Opened) -> None:
    """Raise ImageReadError where a file holds less than its header promises, which decoders pass over in silence."""
    image = source.image
    if image is not None and image.format == "PNG":
        check_png(source.file, image.size, source.name)
    elif image is not None and image.format in ("JPEG", "MPO"):
        check_jpeg(source.file, image.size, source.name)
    elif isinstance(image, TiffImagePlugin.TiffImageFile) and image.info.get("compression") == "jpeg":
        check_jpeg_in_tiff(image, source.file, source.name)


def arrays(image: Image.Image, depth: int, name: str) -> tuple[Array, Array | None]:
    """Return pixels (H, W, 1 | 3) uint8 and alpha (H, W) or None of a loaded image with 8 bits or less."""
    key = image.info.get("transparency")
    if image.mode == "L" and depth in (2, 4) and isinstance(key, int):
        image.info["transparency"] = key * (255 // (2**depth - 1))  # Pillow scales the pixels, but not the key
    gray = image.mode in GRAY_MODES
    if image.mode in ("F", "I"):
        raise ImageReadError(f"{name}: its numbers have no known range; save it with 8 or 16 bits per channel")
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[..., None], None
    if image.mode == "CMYK":
        image = Image.fromarray(cmyk_to_rgb(np.asarray(image), image.info.get("icc_profile"), name))
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
    """Describe a file in which no decoder sees an image."""
    file.seek(0)
    head = file.read(32)
    if form := foreign.plugin_format(head):
        return f"it starts like {foreign.describe(form)}, but its data is damaged or cut short"
    if kind := foreign.kind_of(file):
        return kind
    if head.startswith(tiff.SIGNATURES):
        return tiff.unreadable(file)
    file.seek(0)
    if head.startswith(b"\xff\xd8") and (kind := jpeg_kind(file.read())):
        return kind
    for signature, kind in ((b"\x89PNG", "PNG"), (b"\xff\xd8", "JPEG"), (b"GIF8", "GIF"), (b"BM", "BMP")):
        if head.startswith(signature):
            return f"it starts like a {kind} file, but its header is damaged or cut short"
    return f"the content is not an image that can be read; {', '.join((*FORMATS, *READ_ONLY))} can"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
