"""One image from file to file: open, check the size, upscale by rows, stamp, write whole or not at all.

    rows = open_input(source, target)                              # reads the header, small images whole
    writer = upscale_into(target, upscaler, rows, options)         # the model; encoding in a thread beside it
    writer.wait(); writer.commit()                                 # the file gets its name

``upscale_file`` takes these steps one after the other; a batch takes them in threads around the model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from lpnsr.errors import InputError
from lpnsr.imaging import PhotoRows, RowWriter, check_size, encoding_bytes, open_rows
from lpnsr.imaging.opening import HELD
from lpnsr.system.atomic import make_folder_of
from lpnsr.system.memory import parse_memory
from lpnsr.upscaling.options import Options
from lpnsr.upscaling.provenance import settings_of, stamped

if TYPE_CHECKING:
    from lpnsr.checkpoints import ModelSpec
    from lpnsr.upscaling.progress import Callback

Name = str | os.PathLike[str]
GROWTH = 16
"""Most pixels of a result, as a factor of the most pixels of an input."""


class RowUpscaler(Protocol):
    """The members of ``Upscaler`` that are needed here."""

    @property
    def spec(self) -> ModelSpec: ...
    @property
    def parts(self) -> Collection[str]: ...
    @property
    def scale(self) -> int: ...
    @property
    def memory(self) -> int | None: ...
    @property
    def upscale_rows(self) -> Callable[..., PhotoRows]: ...


@dataclass(frozen=True)
class Buffers:
    """Bytes for what waits around the model.

    held: pixels up to which an image is decoded before its turn. ahead: strips of a result that wait for the encoder.
    frugal: whether memory is to be saved.
    """

    held: int = HELD
    ahead: int = 1 << 26
    frugal: bool = False

    @classmethod
    def of(cls, memory: int | str | None) -> Self:
        """The buffers of a process that may hold ``memory``; None for what is free."""
        if memory is None:
            return cls()
        size = parse_memory(memory)
        return cls(min(cls.held, size // 128), min(cls.ahead, size // 64), True)


def open_input(
    source: Name, target: Name, *, max_pixels: int | None = None, buffers: Buffers | None = None
) -> PhotoRows:
    """Open ``source``; rows that have to lie on a disk do so beside ``target``. Raises ImageReadError."""
    held = (buffers or Buffers()).held
    return open_rows(source, max_pixels=max_pixels, held=held, scratch=_existing(Path(target).parent))


def result_size(
    rows: PhotoRows, options: Options, source: Name, target: Name, most: int | None, factor: int
) -> tuple[int, int]:
    """(height, width) of the result. Raises InputError beyond ``most`` pixels, OutputError beyond the format's."""
    height, width = options.output_size((rows.height, rows.width), factor)
    if most is not None and height * width > most:
        raise InputError(
            f"{source}: the result would have {width} x {height} pixels, and {most:,} is the limit; choose a smaller "
            "size, or raise the limit with --max-pixels"
        )
    check_size(target, height, width)
    return height, width


def upscale_into(
    target: Name,
    upscaler: RowUpscaler,
    rows: PhotoRows,
    options: Options,
    *,
    quality: int | None = None,
    buffers: Buffers | None = None,
    waiting: int = 0,
    callback: Callback | None = None,
) -> RowWriter:
    """Upscale ``rows`` into the file ``target``, which may still be encoded, and has no name before ``commit``.

    waiting: bytes of other images that wait meanwhile. Raises ConfigError, InputError, OutputError.
    """
    buffers = buffers or Buffers()
    height, width = options.output_size((rows.height, rows.width), upscaler.scale)
    encoding = encoding_bytes(replace(rows, height=height, width=width), target, frugal=buffers.frugal)
    folder = Path(target).parent
    result = upscaler.upscale_rows(
        rows,
        callback=callback,
        scratch=_existing(folder),
        reserved=waiting + buffers.ahead + encoding,
        **options.model_dump(),
    )
    result = replace(result, exif=stamped(result.exif, settings_of(upscaler.spec, upscaler.parts, options)))
    writer: RowWriter | None = None
    try:
        for strip in result.strips:
            if writer is None:
                make_folder_of(target)
                writer = RowWriter(result, target, quality=quality, frugal=buffers.frugal, ahead=buffers.ahead)
            writer.put(strip)
        assert writer is not None
        writer.finish()
    except BaseException:
        if writer is not None:
            writer.abandon()
        raise
    return writer


def upscale_file(
    upscaler: RowUpscaler,
    source: Name,
    target: Name,
    options: Options,
    *,
    quality: int | None = None,
    max_pixels: int | None = None,
    most: int | None = None,
    callback: Callback | None = None,
) -> None:
    """Upscale the image ``source`` into the file ``target``. most: pixels of the result. Raises as the steps do."""
    buffers = Buffers.of(upscaler.memory)
    rows = open_input(source, target, max_pixels=max_pixels, buffers=buffers)
    result_size(rows, options, source, target, most, upscaler.scale)
    writer = upscale_into(target, upscaler, rows, options, quality=quality, buffers=buffers, callback=callback)
    try:
        writer.wait()
        writer.commit()
    except BaseException:
        writer.abandon()
        raise


def _existing(folder: Path) -> Path:
    """``folder``, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
