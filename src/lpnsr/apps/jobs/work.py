"""What a worker does with a job. A kind is a function of an upscaler and a Work, which returns the result's file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lpnsr.apps.jobs.settings import JobOptions, Limits
from lpnsr.upscaling.files import upscale_file
from lpnsr.upscaling.progress import Callback


@dataclass(frozen=True)
class Work:
    """A job for its kind.

    name: what messages call the image. source: the input's file. folder: the job's own, where the result goes.
    callback: to be handed to the upscaler, or called with a ``Progress`` now and then; it raises if the job is
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
    upscale_file(
        upscaler,
        work.source,
        target,
        work.options.of_image(),
        quality=work.options.quality,
        max_pixels=work.limits.max_pixels,
        most=work.limits.result_pixels,
        callback=work.callback,
    )
    return target
