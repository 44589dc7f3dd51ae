"""One queue a device, so that visitors can choose the device; jobs in these queues, and waiting for them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lpnsr.apps.jobs import Engine, Limits, Models, State, Status, UnknownJobError, Work

ANY = "any"
THOUGHTS = "thoughts"
_EVERY = 0.25  # seconds between two looks at a job
_WAITING = 2.0  # at most, of one that waits: with many who wait, looks and what they change take the processor
_RENEWED = 1.0  # seconds after which files are renewed again


def _think(upscaler: Any, work: Work) -> Path:
    from lpnsr.apps.web.thoughts import think

    return think(upscaler, work)


KINDS = {THOUGHTS: _think}
"""Kinds of jobs beside upscaling."""


@dataclass(frozen=True)
class Ticket:
    """A job and the engine that has it."""

    engine: Engine
    id: str

    @property
    def status(self) -> Status:
        return self.engine.status(self.id)

    @property
    def at_work(self) -> bool:
        """True while the job waits or runs."""
        try:
            return not self.status.state.ended
        except UnknownJobError:  # forgotten, long after its end
            return False

    def cancel(self) -> None:
        """End the job if it waits or runs; a result that is there stays."""
        if self.at_work:
            self.delete()

    def delete(self) -> None:
        """End the job, or delete its result."""
        with suppress(UnknownJobError):
            self.engine.cancel(self.id)

    def result(self) -> Path:
        return self.engine.result(self.id)


class Fleet:
    """Engines by the names of their devices; the first is the default."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self.engines = dict(engines)

    @classmethod
    def of(cls, models: Models, devices: Sequence[str], *, dtype: str, limits: Limits) -> Self:
        """Make an engine for each device. Raises ConfigError for a device that this machine does not have."""
        from lpnsr.system.devices import pick_device, pick_dtype

        names = list(dict.fromkeys(str(pick_device(name)) for name in devices))
        for name in names:
            pick_dtype(dtype, pick_device(name))
        engines = {name: Engine(models, devices=[name], limits=limits, kinds=KINDS, warm=True) for name in names}
        return cls(engines)

    @property
    def first(self) -> Engine:
        return next(iter(self.engines.values()))

    @property
    def choices(self) -> list[str]:
        """Devices that a visitor can choose; ANY too, if there are several of the first one's kind."""
        names = [*self.engines]
        return [ANY, *names] if len(self._alike()) > 1 else names

    def pick(self, device: str) -> Engine:
        """Return the engine of a device; for ANY, the least busy one of the first one's kind."""
        if device in self.engines:
            return self.engines[device]
        return min(self._alike(), key=lambda engine: len(engine.unfinished()))

    def _alike(self) -> list[Engine]:
        kind = next(iter(self.engines)).partition(":")[0]
        return [engine for name, engine in self.engines.items() if name.partition(":")[0] == kind]

    def start(self) -> None:
        for engine in self.engines.values():
            engine.start()

    def close(self, grace: float = 0) -> None:
        for engine in self.engines.values():
            engine.stop_accepting()
        for engine in self.engines.values():
            engine.close(grace)


@asynccontextmanager
async def following(ticket: Ticket, needed: Collection[Path] = ()) -> AsyncIterator[AsyncIterator[Status]]:
    """Open a context with the statuses of a job, the last one after its end; leaving it early ends the job.

    needed: files that are kept meanwhile, however old.
    """
    try:
        yield _statuses(ticket, needed)
    finally:
        ticket.cancel()


async def _statuses(ticket: Ticket, needed: Collection[Path]) -> AsyncIterator[Status]:
    renewed, pause = float("-inf"), _EVERY
    while not (status := ticket.status).state.ended:
        if time.monotonic() - renewed > _RENEWED:
            renew(needed)
            renewed = time.monotonic()
        yield status
        pause = min(1.3 * pause, _WAITING) if status.state is State.QUEUED else _EVERY
        await asyncio.sleep(pause)
    yield status


def renew(paths: Iterable[Path]) -> None:
    """Touch files that are still needed: the desk deletes old ones by mtime, Gradio by ctime."""
    for path in paths:
        with suppress(OSError):
            os.utime(path)
