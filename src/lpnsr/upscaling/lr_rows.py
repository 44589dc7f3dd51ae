"""The LR image as float planes, from rows that come once, for readers that go down it at different places."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lpnsr import imaging
from lpnsr.imaging import Photo, PhotoRows, Window
from lpnsr.networks import BicubicUpsampler
from lpnsr.upscaling.kinds import Planes

_NEAR = 4  # LR pixels around one that its guides depend on
_APART = (3.0, 8.0)  # levels of the composite
_REACH = 2  # LR pixels that bicubic interpolation sees beyond its own

Strip = tuple[Tensor, Tensor | None]
"""Pixels (1 | 3, n, W) and alpha (1, n, W), of any type that ``imaging.to_unit`` takes or float in [0, 1]."""


class LrRows:
    """``height``, ``width``, ``gray``, ``transparent``, and the rows, which are kept until every reader has passed."""

    def __init__(
        self, height: int, width: int, strips: Iterator[Strip], *, gray: bool = False, transparent: bool = False
    ) -> None:
        self.height = height
        self.width = width
        self.gray = gray
        self.transparent = transparent
        self._strips = strips
        self._pixels, self._alpha = Window(()), Window(())
        self._rows = 0
        self._readers: list[Reader] = []

    @classmethod
    def of_photo(cls, rows: PhotoRows) -> Self:
        """Colours under transparent pixels are filled from their neighbourhood."""
        strips = rows.strips
        if rows.transparent:
            strips = imaging.fill_strips(strips, rows.height, rows.width)
        tensors = map(_tensors, strips)
        return cls(rows.height, rows.width, tensors, gray=rows.gray, transparent=rows.transparent)

    @classmethod
    def of_planes(cls, planes: Planes) -> Self:
        """An image in memory."""
        height, width = planes.rgb.shape[-2:]
        strips: Iterator[Strip] = iter([(planes.rgb, planes.alpha)])
        return cls(height, width, strips, gray=planes.gray, transparent=planes.alpha is not None)

    def reader(self) -> Reader:
        """A reader that starts at the top. Take all readers before the first of them reads."""
        self._readers.append(Reader(self))
        return self._readers[-1]

    def guides(self, rows: int) -> Iterator[Tensor]:
        """Bounds of the results in strips (1 | 18, n, W) of ``rows``: where there is colour, 0 or 1.

        With alpha also: colours times alpha, colours and alpha, the least and the most of these four nearby, where they
        change together, from 0 to 1, and where not all nearby is opaque.

        A reader of its own: call it before the first of the others reads.
        """
        return self._guides(self.reader(), rows)

    def _guides(self, reader: Reader, rows: int) -> Iterator[Tensor]:
        for top in range(0, self.height, rows):
            bottom = min(self.height, top + rows)
            start, stop = max(0, top - _NEAR), min(self.height, bottom + _NEAR)
            inner = slice(top - start, bottom - start)
            reader.forget(start)
            pixels = reader.crop(start, stop, 0, self.width)
            coloured = _spread((pixels.amax(0, keepdim=True) > pixels.amin(0, keepdim=True)).float())
            if not self.transparent:
                yield coloured[:, inner]
                continue
            self._alpha.forget(start)
            alpha = _unit(self._alpha.crop(start, stop))
            near = _spread(_spread((alpha < 1).float()))
            both = torch.cat([pixels, alpha])
            together = _spread(_together(pixels, alpha))
            planes = [coloured, pixels * alpha, both, -_spread(-both), _spread(both), together, near]
            yield torch.cat(planes)[:, inner]

    def _draw(self, bottom: int) -> None:
        """See to it that the rows above ``bottom`` have come."""
        while self._rows < bottom:
            pixels, alpha = next(self._strips)
            self._pixels.append(pixels)
            if alpha is not None:
                self._alpha.append(alpha)
            self._rows += pixels.shape[-2]

    def _crop(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        self._draw(bottom)
        return _unit(self._pixels.crop(top, bottom, left, right)).expand(3, -1, -1).contiguous()

    def _forget(self) -> None:
        self._pixels.forget(min(reader.passed for reader in self._readers))


class Reader:
    """Goes down the image."""

    def __init__(self, rows: LrRows) -> None:
        self._rows = rows
        self.passed = 0

    def forget(self, before: int) -> None:
        """Rows above ``before`` will not be asked for again."""
        self.passed = max(self.passed, before)
        self._rows._forget()

    def crop(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """Float RGB (3, bottom - top, right - left) in [0, 1]."""
        return self._rows._crop(top, bottom, left, right)

    def bicubic(self, net: BicubicUpsampler, top: int, bottom: int, left: int, right: int) -> Tensor:
        """Compute a part of the enlargement by ``net`` (3, scale height, scale width), which is never there whole.

        Rows above it are forgotten.
        """
        scale = net.scale
        first, last = max(0, top // scale - _REACH), min(self._rows.height, -(-bottom // scale) + _REACH)
        begin, end = max(0, left // scale - _REACH), min(self._rows.width, -(-right // scale) + _REACH)
        self.forget(first)
        large: Tensor = net(self.crop(first, last, begin, end)[None])[0]
        return large[:, top - first * scale : bottom - first * scale, left - begin * scale : right - begin * scale]


def _spread(plane: Tensor) -> Tensor:
    """The largest values of ``plane`` (C, n, W) within two pixels."""
    return F.max_pool2d(plane, 5, 1, 2)


def _together(pixels: Tensor, alpha: Tensor) -> Tensor:
    """Degree to which colours (3, n, W) and alpha (1, n, W) change together within a pixel: (1, n, W) from 0 to 1.

    By their covariance, which is how much the composite of means differs from the mean of composites.
    """
    mean = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
    covariance = (mean(pixels * alpha) - mean(pixels) * mean(alpha)).abs().amax(0, keepdim=True)
    return ((covariance * 255 - _APART[0]) / (_APART[1] - _APART[0])).clamp(0, 1)


def _tensors(strip: Photo) -> Strip:
    alpha = None if strip.alpha is None else torch.from_numpy(strip.alpha)[None]
    return torch.from_numpy(strip.pixels).permute(2, 0, 1), alpha


def _unit(values: Tensor) -> Tensor:
    if values.is_floating_point():
        return values
    return torch.from_numpy(imaging.to_unit(np.ascontiguousarray(values.numpy())))
