"""How far a job is, and how long jobs take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from lpnsr.apps.jobs.record import Record

_FIRST_GUESS = 6e-5  # seconds an input pixel, before any job has been timed: the bundled model on two CPU cores
_NEWEST = 0.5  # weight of the newest job in the mean


@dataclass
class Progress:
    """Of a job that runs; ``started`` by the monotonic clock."""

    started: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 0
    step: int = 0
    steps: int = 0

    def update(self, state: Any, steps: int | None) -> None:
        """Take in a ``pipeline.Progress``; ``steps`` are those that were asked for, None for the model's own."""
        self.done, self.total, self.step = min(state.done, state.total), state.total, 0
        if state.step is not None:
            self.steps = steps or state.step.schedule.steps
            self.step = self.steps - state.step.t

    @property
    def fraction(self) -> float:
        """0 to 1."""
        within = self.step / self.steps if self.steps else 0.0
        return min(1.0, (self.done + within) / self.total) if self.total else 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


class Pace:
    """Seconds an input pixel by model and number of steps, learnt from the jobs that were done."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str | None, int | None], float] = {}
        self._last = _FIRST_GUESS

    def learn(self, record: Record, seconds: float) -> None:
        key = (record.options.model, record.options.steps)
        rate = seconds / (record.input_height * record.input_width)
        self._last = self._rates[key] = rate + (1 - _NEWEST) * (self._rates.get(key, rate) - rate)

    def expected(self, record: Record) -> float:
        """Seconds that a job will run."""
        rate = self._rates.get((record.options.model, record.options.steps), self._last)
        return rate * record.input_height * record.input_width

    def left(self, record: Record, progress: Progress) -> float:
        """Seconds that a running job still needs."""
        if progress.fraction > 0:
            return progress.seconds * (1 - progress.fraction) / progress.fraction
        return max(0.0, self.expected(record) - progress.seconds)
