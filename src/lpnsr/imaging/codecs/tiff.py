"""TIFF files by tifffile: the page that is the picture, and its rows.

Gray, RGB and CMYK with alpha or none and with other channels, which are left out; 8 to 32 bits, integers and floats;
strips and tiles, planes interleaved or apart, and every compression that imagecodecs knows. Palettes, fewer than 8
bits, JPEG and the rest are left to Pillow, which knows them.
"""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, ImagePalette, TiffImagePlugin

from lpnsr.errors import ImageReadError, LpnsrWarning
from lpnsr.imaging.codecs.foreign import RAW_PHOTOGRAPH, kind_of
from lpnsr.imaging.codecs.spliced import spliced
from lpnsr.imaging.codecs.wide import as_uint16, spread, straight
from lpnsr.imaging.metadata.profiles import cmyk_to_rgb
from lpnsr.imaging.photo import Array, Photo
from lpnsr.imaging.rows import rows_at_once

if TYPE_CHECKING:
    from tifffile import TiffFrame, TiffPage

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DESCRIPTION, _SUBFILE, _OLD_SUBFILE, _COLOUR_MAP, _EXTRA_SAMPLES, _DNG_VERSION = 270, 254, 255, 320, 338, 50706
_PROFILE, _XMP, _IPTC, _PHOTOSHOP, _UNIT = 34675, 700, 33723, 34377, 296
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _CMYK: 4}
_RAW_PHOTOMETRICS = (32803, 34892)  # a colour filter array, and its linear values
_RATIONALS = (5, 10)
_JPEG = (6, 7, 34892, 33007)
_APART = 2
_PREMULTIPLIED, _STRAIGHT = 1, 2
_MOST_PAGES = 64  # that are looked through
logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it notes damage on standard error otherwise
TiffImagePlugin.READ_LIBTIFF = True  # Pillow's own decoder takes YCbCr that is not compressed for RGB
_LARGEST_SEGMENT = 1 << 27  # bytes of pixels that are decoded at once without a word to the planner


def picture_page(file: BinaryIO, name: str) -> tuple[BinaryIO, int, int]:
    """Return a file that begins with the picture's page; that page's number, 0 for one in another; the number of pages.

    Reduced pages and masks are no pictures, nor is a page that a later one shows at least twice as large. A file that
    tifffile cannot parse comes back as it is. Raises ImageReadError for a raw photograph.
    """
    import tifffile

    if (kind := kind_of(file)) == RAW_PHOTOGRAPH:
        raise ImageReadError(f"{name}: {kind}")
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as tiff:
            top = [_full(tiff.pages[index]) for index in range(min(_MOST_PAGES, len(tiff.pages)))]
            every = [(number, page) for number, first in enumerate(top, 1) for page in (first, *_inside(first))]
            if any(_is_raw(page) for _, page in every):
                raise ImageReadError(f"{name}: {RAW_PHOTOGRAPH}")
            number, page = _picture(every)
            pictures = sum(not _is_reduced(page) for page in top) + max(0, len(tiff.pages) - _MOST_PAGES)
            at = page.offset
            first, big, order = tiff.pages.first.offset, tiff.is_bigtiff, tiff.byteorder
    except ImageReadError:
        raise
    except Exception:  # whatever damaged headers make it stumble over; other decoders judge them
        file.seek(0)
        return file, 1, 1
    if at != first:
        file.seek(0)
        start, width = (8, 8) if big else (4, 4)
        head = file.read(start) + at.to_bytes(width, "little" if order == "<" else "big")
        file = spliced(file, [head, (len(head), file.seek(0, 2) - len(head))])
    file.seek(0)
    return file, number if page in top else 0, pictures


def _full(page: TiffPage | TiffFrame) -> TiffPage:
    """Return ``page``, of which tifffile may have parsed a frame only."""
    import tifffile

    return page.aspage() if isinstance(page, tifffile.TiffFrame) else page


def _inside(page: TiffPage) -> list[TiffPage]:
    return [_full(inner) for inner in page.pages or ()] if page.subifds else []


def _is_raw(page: TiffPage) -> bool:
    return int(page.photometric or 0) in _RAW_PHOTOMETRICS or _DNG_VERSION in page.tags


def _is_reduced(page: TiffPage) -> bool:
    """Tell whether ``page`` is a reduced copy, or the transparency, of another one."""
    return bool(int(page.tags.valueof(_SUBFILE, 0)) & 5) or int(page.tags.valueof(_OLD_SUBFILE, 0)) == 2


def _picture(pages: list[tuple[int, TiffPage]]) -> tuple[int, TiffPage]:
    full = [item for item in pages if not _is_reduced(item[1])]
    chosen = full[0] if full else max(pages, key=lambda item: item[1].imagelength * item[1].imagewidth)
    for item in full[1:]:
        if _shows_larger(chosen[1], item[1]):
            chosen = item
    return chosen


def _shows_larger(page: TiffPage, other: TiffPage) -> bool:
    """Tell whether ``other`` has the shape of ``page``, up to a pixel, and at least twice its sides."""
    factor = other.imagewidth / page.imagewidth
    return factor >= 2 and abs(other.imagelength / factor - page.imagelength) <= 1


class TiffFile:
    """The first page of a TIFF: ``height``, ``width``, ``gray``, ``dtype``, ``transparent``.

    ``readable`` tells whether ``strips`` can give its rows. ``decoding``: bytes that it takes for a while.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        import tifffile

        self._file = file
        self._name = name
        file.seek(0)
        self._tiff = tifffile.TiffFile(file)
        page = self._page = self._tiff.pages.first
        self.height, self.width = int(page.imagelength), int(page.imagewidth)
        self._colours = _COLOURS.get(int(page.photometric), 0)
        self.gray = self._colours == 1
        extra = tuple(page.extrasamples) if _EXTRA_SAMPLES in page.tags else (_STRAIGHT,)
        self._extra = extra[: page.samplesperpixel - self._colours]
        kinds = [index for index, kind in enumerate(self._extra) if kind in (_PREMULTIPLIED, _STRAIGHT)]
        self._alpha = self._colours + kinds[0] if kinds else None
        self.transparent = self._alpha is not None
        self._wide = page.dtype is not None and page.bitspersample > 8
        self.dtype: np.dtype[Any] = np.dtype(np.uint16 if self._wide else np.uint8)
        self.readable = self._readable()
        rows = min(self._band_rows, self.height)
        segment = rows * self.width * page.samplesperpixel * np.dtype(page.dtype or "V1").itemsize
        self.decoding = 0 if self._is_plain or segment <= _LARGEST_SEGMENT else 2 * segment

    def _readable(self) -> bool:
        import tifffile

        page = self._page
        return bool(
            self._colours
            and page.samplesperpixel >= self._colours
            and page.dtype is not None
            and page.dtype.kind != "c"
            and 8 <= page.bitspersample <= 64
            and page.imagedepth == 1
            and page.compression not in _JPEG
            and (page.compression == 1 or page.compression in tifffile.TIFF.DECOMPRESSORS)
            and not page.is_subsampled
        )

    @property
    def kind(self) -> tuple[bool, np.dtype[Any], bool]:
        """``gray``, ``dtype`` and ``transparent``."""
        return self.gray, self.dtype, self.transparent

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a decoded pixel."""
        return (3 - 2 * self.gray + self.transparent) * self.dtype.itemsize

    def exif(self) -> Image.Exif:
        """Return the tags of the page."""
        exif = Image.Exif()
        if self._tiff.is_bigtiff and self._tiff.byteorder == ">":  # which Pillow cannot parse
            for tag in self._page.tags:
                if isinstance(tag.value, (str, int)) or (isinstance(tag.value, tuple) and tag.dtype not in _RATIONALS):
                    exif[tag.code] = tag.value
            return exif
        exif.endian, exif.bigtiff = self._tiff.byteorder, self._tiff.is_bigtiff
        exif.load_from_fp(self._file, self._page.offset)
        return exif

    def info(self) -> dict[str, Any]:
        """Return entries that Pillow would have in the ``info`` of the image."""
        tags = self._page.tags
        found = {"icc_profile": tags.valueof(_PROFILE), "xmp": tags.valueof(_XMP)}
        iptc = bytes(tags.valueof(_IPTC, b"")).rstrip(b"\0")  # many programs fill it up to whole numbers
        found["photoshop"] = iptc or tags.valueof(_PHOTOSHOP)
        unit = {2: 1.0, 3: 2.54}.get(int(tags.valueof(_UNIT, 2)))
        if unit and 282 in tags and 283 in tags:
            across, down = tags.valueof(282), tags.valueof(283)
            if across[1] and down[1]:
                found["dpi"] = (unit * across[0] / across[1], unit * down[0] / down[1])
        return {key: bytes(value) if isinstance(value, bytes) else value for key, value in found.items() if value}

    def strips(self, icc: bytes | None) -> Iterator[Photo]:
        """Yield the image in strips, as it is stored. icc: the profile of CMYK. Raises whatever the decoders do."""
        page = self._page
        left_out = page.samplesperpixel - self._colours - self.transparent
        if left_out:
            self._warn(f"channels beside the colours that are no transparency are left out: {left_out}")
        for band in self._plain() if self._is_plain else self._bands():
            step = rows_at_once(band[0].nbytes)
            for top in range(0, len(band), step):
                yield self._photo(band[top : top + step], icc)

    def _warn(self, text: str) -> None:
        warnings.warn(f"{self._name}: {text}", LpnsrWarning, stacklevel=3)

    def _photo(self, values: Array, icc: bytes | None) -> Photo:
        values = self._in_range(values)
        pixels = values[..., : self._colours]
        alpha = None if self._alpha is None else np.ascontiguousarray(values[..., self._alpha])
        if int(self._page.photometric) == _WHITE_IS_ZERO:
            pixels = np.iinfo(self.dtype).max - pixels
        if alpha is not None and self._extra[self._alpha - self._colours] == _PREMULTIPLIED:  # type: ignore[operator]
            pixels = straight(pixels, alpha)
        if self._colours == 4:
            pixels = cmyk_to_rgb(pixels, icc, self._name)
        return Photo(np.ascontiguousarray(pixels), alpha)

    def _in_range(self, values: Array) -> Array:
        """Return samples as uint8 or uint16 of the full range."""
        bits = self._page.bitspersample
        if bits == 8 and values.dtype == np.uint8:
            return values
        wide = as_uint16(values, self._name)
        if bits < 16 and values.dtype == np.uint16:  # 10, 12 or 14 bits
            wide = spread(wide, (1 << bits) - 1)
        return wide if self._wide else ((wide.astype(np.uint32) + 128) // 257).astype(np.uint8)

    @property
    def _is_plain(self) -> bool:
        """Whether the pixels lie in the file as they are."""
        page = self._page
        whole = page.bitspersample in (8, 16, 32, 64) and page.fillorder == 1  # else its bits are in reverse order
        return bool(page.is_contiguous and page.predictor == 1 and whole)

    def _plain(self) -> Iterator[Array]:
        """Yield rows of pixels that lie in the file as they are, a few at a time."""
        page = self._page
        dtype = np.dtype(page.dtype).newbyteorder(self._tiff.byteorder)
        planes, samples = self._planes
        row_bytes = self.width * samples * dtype.itemsize
        count = rows_at_once(planes * row_bytes)
        for top in range(0, self.height, count):
            rows = min(count, self.height - top)
            parts = []
            for plane in range(planes):
                self._file.seek(page.dataoffsets[0] + (plane * self.height + top) * row_bytes)
                data = self._file.read(rows * row_bytes)
                parts.append(np.frombuffer(data, dtype).reshape(rows, self.width, samples))
            band = parts[0] if planes == 1 else np.concatenate(parts, 2)
            yield band.astype(dtype.newbyteorder("="), copy=False)

    @property
    def _planes(self) -> tuple[int, int]:
        """The number of planes, and of samples of a pixel in each."""
        samples = self._page.samplesperpixel
        return (samples, 1) if self._page.planarconfig == _APART else (1, samples)

    @property
    def _band_rows(self) -> int:
        return int(self._page.tilelength if self._page.is_tiled else self._page.rowsperstrip or self.height)

    def _bands(self) -> Iterator[Array]:
        """Yield rows of strips or of tiles as they are decoded, of all planes."""
        page, rows = self._page, self._band_rows
        columns = int(page.tilewidth) if page.is_tiled else self.width
        down, across = -(-self.height // rows), -(-self.width // columns)
        planes, samples = self._planes
        if len(page.dataoffsets) < planes * down * across or len(page.databytecounts) < planes * down * across:
            raise ValueError("there are fewer strips or tiles than it needs")
        for band in range(down):
            out = np.zeros((min(rows, self.height - band * rows), self.width, page.samplesperpixel), page.dtype)
            for plane, tile in np.ndindex(planes, across):
                part = self._segment((plane * down + band) * across + tile)
                if part is not None:  # else it is a place without data
                    left = tile * columns
                    part = part[0, : len(out), : self.width - left]
                    out[:, left : left + columns, plane : plane + samples] = part
            yield out

    def _segment(self, index: int) -> Array | None:
        offset, count = self._page.dataoffsets[index], self._page.databytecounts[index]
        if not count:
            return None
        self._file.seek(offset)
        data = self._file.read(count)
        if len(data) < count:
            raise ValueError("a strip or tile ends before it should")
        decoded, _, _ = self._page.decode(data, index)
        return decoded


def mend_palette(image: Image.Image) -> None:
    """Take the palette of a TIFF that Pillow opened for one of 8 bits where none of its values has more."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and max(image.tag_v2.get(_COLOUR_MAP, (256,))) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(image.tag_v2[_COLOUR_MAP]))


def drop_ome(exif: Image.Exif) -> bool:
    """Drop OME metadata; whether there was any."""
    found = "<OME" in str(exif.get(_DESCRIPTION, ""))[:2000]
    if found:
        del exif[_DESCRIPTION]
    return found


def unreadable(file: BinaryIO) -> str:
    """Return a sentence for a TIFF that no decoder reads."""
    head = _header(file)
    with_tags = TiffImagePlugin.ImageFileDirectory_v2(head)
    form = (">" if head[:1] == b"M" else "<") + ("Q" if len(head) > 8 else "H")
    try:
        file.seek(with_tags.next)
        (stated,) = struct.unpack(form, file.read(struct.calcsize(form)))
        file.seek(with_tags.next)
        with_tags.load(file)
        whole = len(with_tags) >= stated
    except Exception:  # of damaged directories it raises anything
        whole = False
    if not whole:
        return "it starts like a TIFF file, but its header is damaged or cut short"
    kinds = f"photometric {with_tags.get(262)}, compression {with_tags.get(259, 1)}, bits {with_tags.get(258)}"
    return f"a TIFF of a kind that cannot be read ({kinds}); save it as RGB or gray with 8 or 16 bits per channel"


def _header(file: BinaryIO) -> bytes:
    file.seek(0)
    head = file.read(8)
    return head + file.read(8) if head[2:3] == b"+" or head[3:4] == b"+" else head
