"""Waiting for a job without holding a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from lpnsr.apps.jobs import State, Status
from lpnsr.apps.web.desk import renew
from lpnsr.apps.web.fleet import Ticket

_EVERY = 0.25  # seconds between two looks at a job
_WAITING = 2.0  # at most, of one that waits: with many who wait, looks and what they change take the processor
_RENEWED = 1.0  # seconds after which files are renewed again


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
