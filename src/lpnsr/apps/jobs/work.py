"""What a worker does with a job. A kind is a function of an upscaler and a Work, which returns the result's file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lpnsr.apps.jobs.inspect import result_size
from lpnsr.apps.jobs.provenance import stamped
from lpnsr.apps.jobs.settings import JobOptions, Limits
from lpnsr.imaging import encoding_bytes, open_rows, write_rows
from lpnsr.upscaling.upscaler import Callback


@dataclass(frozen=True)
class Work:
    """A job for its kind.

    name: what messages call the image. source: the input's file. folder: the job's own, where the result goes.
    callback: to be handed to the upscaler, or called with a ``pipeline.Progress`` now and then; it raises if the job is
    to stop, and that is to be let through.
    """

    name: str
    source: Path
    folder: Path
    options: JobOptions
    limits: Limits
    callback: Callback


Kind = Callable[[Any, Work], Path]


def upscale(upscaler: Any, work: Work) -> Path:
    """The ordinary kind: the input upscaled, with its metadata and the settings. Nothing large is in memory whole."""
    target = work.folder / f"result{work.options.extension}"
    rows = open_rows(work.source, max_pixels=work.limits.max_pixels, scratch=work.folder)
    size = result_size((rows.height, rows.width), work.name, work.options, work.limits)  # now the orientation is sure
    result = upscaler.upscale_rows(
        rows,
        callback=work.callback,
        scratch=work.folder,
        reserved=encoding_bytes(replace(rows, height=size[0], width=size[1]), target),
        **work.options.for_upscaler(),
    )
    exif = stamped(result.exif, settings_of(upscaler, work.options))
    write_rows(replace(result, exif=exif), target, quality=work.options.quality)
    return target


def settings_of(upscaler: Any, options: JobOptions) -> dict[str, Any]:
    """What a result depends on beside its input, with the model's own choices filled in."""
    spec = upscaler.spec
    chosen = options.model_dump(exclude={"tile", "format", "quality"}, exclude_none=True)
    return {"steps": spec.chain.steps, "fidelity": spec.inference.fidelity} | chosen
