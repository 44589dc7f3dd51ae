"""Progress of a job, and the time that jobs take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from lpnsr.apps.jobs.record import JobRecord
from lpnsr.apps.jobs.settings import JobOptions
from lpnsr.upscaling.progress import Progress

_NEWEST = 0.5  # weight of the newest job in the mean


@dataclass
class JobProgress:
    """Progress of a job that runs. By the monotonic clock: ``started``, and ``begun`` when its model was there."""

    started: float = field(default_factory=time.monotonic)
    begun: float | None = None
    done: int = 0
    total: int = 0
    step: int = 0
    steps: int = 0

    def update(self, state: Progress, steps: int | None) -> None:
        """Take in a ``Progress``; ``steps`` are those that were asked for, None for the model's own."""
        self.done, self.total, self.step = min(state.done, state.total), state.total, 0
        if state.step is not None:
            self.steps = steps or state.step.schedule.steps
            self.step = self.steps - state.step.t + 1

    @property
    def fraction(self) -> float:
        """0 to 1."""
        within = self.step / self.steps if self.steps else 0.0
        return min(1.0, (self.done + within) / self.total) if self.total else 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def at_work(self) -> float:
        """Seconds without those in which the model was loaded."""
        return 0.0 if self.begun is None else time.monotonic() - self.begun


class Pace:
    """Seconds an input pixel by model and number of steps, learnt from the jobs that were done.

    Before there are any, from how far the first one is.
    """

    def __init__(self) -> None:
        self._rates: dict[tuple[str | None, int | None], float] = {}
        self._last: float | None = None

    def measured(self, model: str, rates: Mapping[int, float]) -> None:
        """Note the seconds per pixel of a model by the number of its steps, before it has done a job."""
        for steps, rate in rates.items():
            self._rates.setdefault((model, steps), rate)

    def known(self, options: JobOptions, pixels: int) -> float | None:
        """Seconds for an image of so many pixels with these options; None for a model that has not run yet."""
        rate = self._rates.get((options.model, options.steps))
        return None if rate is None else rate * pixels

    def learn(self, record: JobRecord, seconds: float) -> None:
        key = (record.options.model, record.options.steps)
        rate = seconds / (record.input_height * record.input_width)
        self._last = self._rates[key] = rate + (1 - _NEWEST) * (self._rates.get(key, rate) - rate)

    def glimpse(self, record: JobRecord, progress: JobProgress) -> None:
        """Note the progress of a job; it counts until one is done."""
        if not self._rates and progress.fraction > 0:
            self._last = progress.at_work / progress.fraction / (record.input_height * record.input_width)

    def expected(self, record: JobRecord) -> float | None:
        """Seconds that a job will run; None if nothing is known."""
        rate = self._rates.get((record.options.model, record.options.steps), self._last)
        return None if rate is None else rate * record.input_height * record.input_width

    def left(self, record: JobRecord, progress: JobProgress) -> float | None:
        """Seconds that a running job still needs; None if nothing is known, or it takes longer than was expected."""
        if progress.begun is None:
            return None
        if progress.fraction > 0:
            return progress.at_work * (1 - progress.fraction) / progress.fraction
        left = (self.expected(record) or 0.0) - progress.at_work
        return left if left > 0 else None
