"""The record of a job that is kept on disk, and the status that callers see."""

from __future__ import annotations

from enum import StrEnum

from lpnsr.apps.jobs.settings import JobOptions
from lpnsr.system.config import StrictConfig


class State(StrEnum):
    """The states of a job. Only the first two change by themselves; the others expire."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        return self not in (State.QUEUED, State.RUNNING)


class JobFacts(StrictConfig):
    """The fields that a record and a status share.

    Times are seconds since the epoch; sizes are pixels, height and width of the upright image. width, height: of the
    result. seconds: time that it has run. error: why it failed or was cancelled.
    """

    id: str
    state: State = State.QUEUED
    kind: str
    name: str
    options: JobOptions
    input_height: int
    input_width: int
    height: int
    width: int
    created: float
    ended: float | None = None
    seconds: float | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()


class JobRecord(JobFacts):
    """A job as it is kept.

    number: its place among all jobs, by which the queue is ordered. result: the name of the file in the job's folder.
    """

    number: int
    owner: str
    attempts: int = 0
    result: str | None = None
    result_bytes: int = 0


class Status(JobFacts):
    """A job as its owner sees it, at one moment.

    file_name: name for the result. position: number of jobs that begin before it, plus one; None once it runs.
    progress: 0 to 1, by ``tiles_done`` of ``tiles`` and ``steps_done`` of ``steps`` in the tile at work. seconds_left:
    estimated time until it ends; None once it has, and while nothing is known. expires: time at which the result is
    deleted.
    """

    file_name: str
    position: int | None = None
    progress: float = 0.0
    tiles_done: int = 0
    tiles: int = 0
    steps_done: int = 0
    steps: int = 0
    seconds_left: float | None = None
    expires: float | None = None
