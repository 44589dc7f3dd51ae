"""What a worker does with a job. A kind is a function of an upscaler and a Work, which returns the result's file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lpnsr.apps.jobs.provenance import stamped
from lpnsr.apps.jobs.settings import JobOptions, Limits
from lpnsr.imaging import read, write
from lpnsr.pipeline import Callback


@dataclass(frozen=True)
class Work:
    """A job for its kind.

    source: the input's file. folder: the job's own, where the result goes. callback: to be handed to the upscaler, or
    called with a ``pipeline.Progress`` now and then; it raises if the job is to stop, and that is to be let through.
    """

    source: Path
    folder: Path
    options: JobOptions
    limits: Limits
    callback: Callback


Kind = Callable[[Any, Work], Path]


def upscale(upscaler: Any, work: Work) -> Path:
    """The ordinary kind: the input upscaled, with its metadata and the settings."""
    photo = read(work.source, max_pixels=work.limits.max_pixels)
    result = upscaler.upscale_photo(photo, callback=work.callback, **work.options.for_upscaler())
    target = work.folder / f"result{work.options.extension}"
    exif = stamped(result.exif, settings_of(upscaler, work.options))
    write(replace(result, exif=exif), target, quality=work.options.quality)
    return target


def settings_of(upscaler: Any, options: JobOptions) -> dict[str, Any]:
    """What a result depends on beside its input, with the model's own choices filled in."""
    spec = upscaler.spec
    chosen = options.model_dump(exclude={"tile", "format", "quality"}, exclude_none=True)
    return {"steps": spec.chain.steps, "fidelity": spec.inference.fidelity} | chosen
