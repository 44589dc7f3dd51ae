"""What is known of a job: the record that is kept on disk, and the status that callers see."""

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


class JobRecord(StrictConfig):
    """A job as it is kept. Times are seconds since the epoch; sizes are pixels, height and width of the upright image.

    number: its place among all jobs, by which the queue is ordered. result: the name of the file in the job's folder.
    """

    id: str
    number: int
    kind: str
    owner: str
    name: str
    options: JobOptions
    input_height: int
    input_width: int
    height: int
    width: int
    state: State = State.QUEUED
    attempts: int = 0
    created: float
    ended: float | None = None
    seconds: float | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()
    result: str | None = None
    result_bytes: int = 0


class Status(StrictConfig):
    """A job as its owner sees it, at one moment.

    position: how many jobs begin before it, plus one; None once it runs. progress: 0 to 1, by ``tiles_done`` of
    ``tiles`` and ``steps_done`` of ``steps`` in the tile at work. seconds_left: until it ends, an estimate; None once
    it has, and while nothing is known of it. seconds: how long it has run. width, height: of the result. expires: when
    the result is deleted, seconds since the epoch. error: why it failed or was cancelled. file_name: what the result is
    to be called.
    """

    id: str
    state: State
    kind: str
    name: str
    file_name: str
    options: JobOptions
    input_width: int
    input_height: int
    width: int
    height: int
    position: int | None = None
    progress: float = 0.0
    tiles_done: int = 0
    tiles: int = 0
    steps_done: int = 0
    steps: int = 0
    seconds: float | None = None
    seconds_left: float | None = None
    created: float
    ended: float | None = None
    expires: float | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()
