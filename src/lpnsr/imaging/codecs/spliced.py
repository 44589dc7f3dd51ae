"""A file made of parts of another one, for decoders that stumble over the rest."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import BinaryIO, cast

Piece = bytes | tuple[int, int]
"""Bytes, or the offset and length of a part of the file."""


def spliced(file: BinaryIO, pieces: Sequence[Piece]) -> BinaryIO:
    """Return a readable file of the ``pieces`` of ``file``, which it closes with itself. Nothing is copied."""
    return cast(BinaryIO, io.BufferedReader(_Spliced(file, pieces), 1 << 16))


class _Spliced(io.RawIOBase):
    def __init__(self, file: BinaryIO, pieces: Sequence[Piece]) -> None:
        self._file = file
        self._pieces = pieces
        lengths = [len(piece) if isinstance(piece, bytes) else piece[1] for piece in pieces]
        self._starts = [0, *accumulate(lengths)]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        if not len(view) or self._at >= self._starts[-1]:
            return 0
        index = bisect_right(self._starts, self._at) - 1
        piece, within = self._pieces[index], self._at - self._starts[index]
        count = min(len(view), self._starts[index + 1] - self._at)
        if isinstance(piece, bytes):
            data = piece[within : within + count]
        else:
            self._file.seek(piece[0] + within)
            data = self._file.read(count)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
