"""Pictures that a browser can show, crops, and results in other formats; all made row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lpnsr.apps.jobs.inspect import renamed
from lpnsr.errors import InputError, LpnsrError
from lpnsr.imaging import Photo, PhotoRows, open_rows, resize_strips, rows_at_once, write_rows
from lpnsr.imaging.metadata.extras import Extras
from lpnsr.imaging.rows import samples

MOST_SHOWN = 64_000_000
"""Pixels of a picture that a browser is asked to show."""


def shown(
    source: Path, target: Path, *, max_pixels: int, size: tuple[int, int] | None = None, most: int = MOST_SHOWN
) -> None:
    """Write the picture in ``source`` as a PNG, enlarged to ``size`` (height, width) bicubically, or as it is.

    With more than ``most`` pixels it is made smaller; a picture that would be enlarged beyond a quarter of them stays
    as it is, and the browser enlarges it.
    """
    rows = open_rows(source, max_pixels=max_pixels, scratch=target.parent)
    here = (rows.height, rows.width)
    share = (most / (here[0] * here[1])) ** 0.5
    if share < 1:
        rows = _resized(rows, (max(1, int(here[0] * share)), max(1, int(here[1] * share))))
    elif size is not None and size[0] * size[1] <= most // 4:
        rows = _resized(rows, size)
    write_rows(_plain(rows), target)


def converted(source: Path, target: Path, quality: int | None) -> None:
    """Convert the PNG ``source`` to the format of ``target``, with its metadata. Raises OutputError."""
    write_rows(open_rows(source, max_pixels=2**40, scratch=target.parent), target, quality=quality)


def cropped(source: Path, target: Path, side: int, across: float, down: float, *, max_pixels: int, name: str) -> None:
    """Write a crop of at most ``side`` x ``side`` as a PNG, with its transparency and colour profile.

    across, down: place of the crop, from 0 (left, top) to 1. name: of the image in messages.
    """
    try:
        rows = open_rows(source, max_pixels=max_pixels, scratch=target.parent)
    except LpnsrError as error:
        raise InputError(renamed(error, source, name)) from None
    height, width = min(side, rows.height), min(side, rows.width)
    top, left = round(down * (rows.height - height)), round(across * (rows.width - width))

    def strips() -> Iterator[Photo]:
        seen = 0
        for strip in rows.strips:
            part = np.s_[max(top - seen, 0) : max(top + height - seen, 0), left : left + width]
            if strip.pixels[part].size:
                yield Photo(strip.pixels[part], None if strip.alpha is None else strip.alpha[part])
            seen += strip.height

    write_rows(_plain(replace(rows, height=height, width=width, strips=strips())), target)


def _plain(rows: PhotoRows) -> PhotoRows:
    """Leave out the metadata that does not change how the picture looks."""
    return replace(rows, exif=None, extras=Extras(colour=rows.extras.colour))


def _weighted(strip: Photo, most: float) -> torch.Tensor:
    """(C, n, W), colours weighted by alpha where there is any: hidden ones leave no trace."""
    values = torch.from_numpy(samples(strip).astype(np.float32)).permute(2, 0, 1)
    return values if strip.alpha is None else torch.cat([values[:-1] * (values[-1:] / most), values[-1:]])


def _resized(rows: PhotoRows, size: tuple[int, int]) -> PhotoRows:
    most = float(np.iinfo(rows.dtype).max)
    values = (_weighted(strip, most) for strip in rows.strips)
    count = rows_at_once(4 * rows.channels * size[1])

    def strips() -> Iterator[Photo]:
        for strip in resize_strips(values, (rows.height, rows.width), size, rows=count):
            if rows.transparent:
                strip[:-1] *= most / strip[-1:].clamp(min=1)
            pixels = strip.clamp_(0, most).round_().permute(1, 2, 0).numpy().astype(rows.dtype, order="C")
            alpha = np.ascontiguousarray(pixels[..., -1]) if rows.transparent else None
            yield Photo(pixels if alpha is None else np.ascontiguousarray(pixels[..., :-1]), alpha)

    return replace(rows, height=size[0], width=size[1], strips=strips())
