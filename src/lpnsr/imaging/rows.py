"""Photos that come row by row, from top to bottom, and so are never in memory whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from lpnsr.imaging.metadata.extras import NO_EXTRAS, Extras
from lpnsr.imaging.photo import Array, Photo

_STRIP_BYTES = 1 << 24
_FEWEST, _MOST = 16, 256


def rows_at_once(row_bytes: int) -> int:
    """Return how many rows of ``row_bytes`` to process at a time: 16 MiB of them, but 16 to 256."""
    return min(_MOST, max(_FEWEST, _STRIP_BYTES // max(1, row_bytes)))


@dataclass(frozen=True, eq=False)
class PhotoRows:
    """A photo as an iterator of strips, each a Photo of some rows without metadata; it can be run through once.

    gray, dtype and transparent tell the kind of ``Photo.pixels`` and whether there is alpha; the rest is as in Photo.
    """

    height: int
    width: int
    gray: bool
    dtype: np.dtype[Any]
    transparent: bool
    strips: Iterator[Photo]
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str = "PNG"
    extras: Extras = NO_EXTRAS
    decoding: int = 0
    """Bytes that drawing the first strip takes for a while, beside the strip."""

    @classmethod
    def of(cls, photo: Photo, rows: int | None = None) -> Self:
        """Cut ``photo`` into strips of ``rows``."""
        count = rows or rows_at_once(photo.pixels[0].nbytes)
        return cls(
            height=photo.height,
            width=photo.width,
            gray=photo.gray,
            dtype=photo.pixels.dtype,
            transparent=photo.alpha is not None,
            strips=(_part(photo, top, top + count) for top in range(0, photo.height, count)),
            icc=photo.icc,
            exif=photo.exif,
            dpi=photo.dpi,
            format=photo.format,
            extras=photo.extras,
        )

    @property
    def channels(self) -> int:
        """1 or 3, and one more with alpha."""
        return (1 if self.gray else 3) + self.transparent

    @property
    def row_bytes(self) -> int:
        return self.width * self.channels * self.dtype.itemsize

    def whole(self) -> Photo:
        """Return the whole photo in memory."""
        pixels = np.empty((self.height, self.width, 1 if self.gray else 3), self.dtype)
        alpha = np.empty((self.height, self.width), self.dtype) if self.transparent else None
        top = 0
        for strip in self.strips:
            pixels[top : top + strip.height] = strip.pixels
            if alpha is not None:
                alpha[top : top + strip.height] = strip.alpha
            top += strip.height
        return Photo(pixels, alpha, self.icc, self.exif, self.dpi, self.format, self.extras)


def _part(photo: Photo, start: int, stop: int) -> Photo:
    alpha = None if photo.alpha is None else photo.alpha[start:stop]
    return Photo(photo.pixels[start:stop], alpha)


def samples(photo: Photo) -> Array:
    """Return (H, W, 1..4): pixels, and alpha behind them."""
    return photo.pixels if photo.alpha is None else np.concatenate([photo.pixels, photo.alpha[..., None]], 2)


def mapped(rows: PhotoRows, change: Callable[[Photo], Photo], **fields: Any) -> PhotoRows:
    """Apply the function ``change`` to every strip of ``rows``, and set other ``fields``."""
    return replace(rows, strips=map(change, rows.strips), **fields)


def recut(strips: Iterable[Array], rows: int) -> Iterator[Array]:
    """Yield strips (n, ...) of any heights as strips of ``rows``; the last may be lower."""
    held: list[Array] = []
    for strip in strips:
        while len(strip):
            held.append(strip[: rows - sum(map(len, held))])
            strip = strip[len(held[-1]) :]
            if sum(map(len, held)) == rows:
                yield held[0] if len(held) == 1 else np.concatenate(held)
                held = []
    if held:
        yield held[0] if len(held) == 1 else np.concatenate(held)
