"""Netpbm files of gray and colours, PGM, PPM and PAM, row by row. Bitmaps (PBM) are left to Pillow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

import numpy as np

from lpnsr.errors import ImageReadError
from lpnsr.imaging.codecs.wide import spread
from lpnsr.imaging.photo import Array, Photo
from lpnsr.imaging.rows import rows_at_once

SIGNATURE = re.compile(rb"P[23567Ff]\s")
_NUMBER = rb"(?:\s|#[^\n]*\n)+(\d+)"
_HEADER = re.compile(rb"P([2356])" + 3 * _NUMBER + rb"\s")
_PAM_HEADER = re.compile(rb"P7\s.*?^ENDHDR[ \t\r]*\n", re.DOTALL | re.MULTILINE)
_SAMPLES = {"GRAYSCALE": 1, "BLACKANDWHITE": 1, "RGB": 3}
"""Colours a pixel, by the tuple type of a PAM."""


class NetpbmFile:
    """The first image of a file: ``height``, ``width`` and ``kind``. Raises ImageReadError for a damaged header."""

    decoding = 0

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        file.seek(0)
        head = file.read(1 << 16)
        if head[:2] in (b"PF", b"Pf"):
            raise ImageReadError(
                f"{name}: a PFM file of floating-point numbers, which cannot be read; save it as PNG or TIFF with 16 "
                "bits per channel"
            )
        if pam := _PAM_HEADER.match(head):
            self._text, self._start = False, pam.end()
            self._read_fields(pam[0])
        elif found := _HEADER.match(head):
            self._text, self._start = found[1] in b"23", found.end()
            self.width, self.height, self._most = (int(found[i]) for i in (2, 3, 4))
            self._samples, self._transparent = 3 if found[1] in b"36" else 1, False
        else:
            raise self._damaged()
        if not (self.width and self.height and 0 < self._most < 65536):
            raise self._damaged()
        self.kind = (self._samples == 1, np.dtype(np.uint8 if self._most < 256 else np.uint16), self._transparent)
        self.pixel_bytes = (self._samples + self._transparent) * self.kind[1].itemsize

    def _read_fields(self, header: bytes) -> None:
        lines = (line.split(None, 1) for line in header.decode("latin-1").splitlines() if line[:1] != "#")
        fields = {line[0]: line[1].strip() for line in lines if len(line) == 2}
        try:
            self.width, self.height, self._most = (int(fields[key]) for key in ("WIDTH", "HEIGHT", "MAXVAL"))
            depth = int(fields["DEPTH"])
        except (KeyError, ValueError):
            raise self._damaged() from None
        kind = fields.get("TUPLTYPE") or ("GRAYSCALE" if depth < 3 else "RGB") + ("_ALPHA" if depth in (2, 4) else "")
        self._samples, self._transparent = _SAMPLES.get(kind.removesuffix("_ALPHA"), 0), kind.endswith("_ALPHA")
        if not self._samples or depth != self._samples + self._transparent:
            raise ImageReadError(
                f"{self._name}: a PAM file with {depth} channels of the kind {kind}, which cannot be read; save it as "
                "GRAYSCALE or RGB, with or without _ALPHA, or as PNG or TIFF"
            )

    def _damaged(self) -> ImageReadError:
        return ImageReadError(
            f"{self._name}: it starts like a Netpbm file, but its header is damaged or cut short. Get the file again"
        )

    def strips(self, icc: bytes | None) -> Iterator[Photo]:
        """Yield the image in strips. Raises ValueError if the file ends too early."""
        channels = self._samples + self._transparent
        dtype = np.dtype("u1" if self._most < 256 else ">u2")
        file, row_bytes = self._file, self.width * channels * dtype.itemsize
        file.seek(self._start)
        if self._text:
            text = re.sub(rb"#[^\n]*", b"", file.read()).decode("ascii")
            numbers = np.fromstring(text, np.int64, sep=" ")  # with a count, it makes up those that are missing
            file = BytesIO(numbers.clip(0, self._most).astype(dtype).tobytes())
        step = rows_at_once(row_bytes)
        for top in range(0, self.height, step):
            rows = min(step, self.height - top)
            data = file.read(rows * row_bytes)
            if len(data) < rows * row_bytes:
                raise ValueError(f"it ends before the last of {self.height} rows")
            yield self._photo(np.frombuffer(data, dtype).reshape(rows, self.width, channels))

    def _photo(self, values: Array) -> Photo:
        values = spread(values, self._most, self.kind[1].type)
        alpha = np.ascontiguousarray(values[..., -1]) if self._transparent else None
        return Photo(np.ascontiguousarray(values[..., : self._samples]), alpha)
