"""Waiting for a job without holding a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lpnsr.apps.jobs import Status
from lpnsr.apps.web.fleet import Ticket

_EVERY = 0.25  # seconds between two looks at a job


@asynccontextmanager
async def following(ticket: Ticket) -> AsyncIterator[AsyncIterator[Status]]:
    """A context with the statuses of a job, the last of which has ended; leaving it early ends the job."""
    try:
        yield _statuses(ticket)
    finally:
        ticket.cancel()


async def _statuses(ticket: Ticket) -> AsyncIterator[Status]:
    while not (status := ticket.status).state.ended:
        yield status
        await asyncio.sleep(_EVERY)
    yield status
