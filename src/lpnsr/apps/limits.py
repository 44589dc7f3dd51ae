"""Limits of a queue of jobs. Importing this module imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lpnsr.system.config import StrictConfig
from lpnsr.upscaling.options import Cli

_CLI = Cli("Limits")


class Limits(StrictConfig):
    """Limits of a queue.

    max_upload: bytes of an input. max_result_pixels: None for 16 times ``max_pixels``. owner_queue: None for no such
    limit. max_stored: bytes of all results; beyond it the oldest are deleted early. attempts: number of times that a
    job is begun which ends with the death of the process.
    """

    max_upload: Annotated[int, Field(ge=1)] = 50 * 2**20
    max_pixels: Annotated[
        int, Field(ge=1, description="Maximum pixels of an image; a result may have 16 times as many."), _CLI
    ] = 50_000_000
    max_result_pixels: Annotated[int, Field(ge=1)] | None = None
    queue: Annotated[int, Field(ge=1, description="Maximum number of jobs that wait for a device."), _CLI] = 64
    owner_queue: Annotated[
        int | None,
        Field(ge=1, description="Maximum number of waiting and running jobs per address."),
        Cli("Limits", ("--per-client",)),
    ] = None
    timeout: Annotated[float, Field(gt=0, description="Maximum run time of a job in seconds."), _CLI] = 6 * 3600.0
    ttl: Annotated[float, Field(gt=0, description="Storage time of files in seconds."), _CLI] = 3600.0
    max_stored: Annotated[int, Field(ge=1)] = 10 * 2**30
    attempts: Annotated[int, Field(ge=1)] = 2

    @property
    def result_pixels(self) -> int:
        """Most pixels of a result."""
        return self.max_result_pixels or 16 * self.max_pixels
