"""The warnings of one job, noted instead of shown."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lpnsr.errors import LpnsrWarning

_heard: ContextVar[list[str] | None] = ContextVar("_heard", default=None)
"""Also that of threads which run in a copy of the context, as the encoders of results do."""


def listen() -> None:
    """Have the LpnsrWarnings within ``heard`` noted; all others are shown as before."""
    usual = warnings.showwarning
    if getattr(usual, "notes_jobs", False):
        return

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        notes = _heard.get()
        if notes is None or not issubclass(category, LpnsrWarning):
            usual(message, category, *place)
        elif str(message) not in notes:
            notes.append(str(message))

    show.notes_jobs = True  # type: ignore[attr-defined]
    warnings.showwarning = show  # type: ignore[assignment]
    warnings.simplefilter("always", LpnsrWarning)


@contextmanager
def heard() -> Iterator[list[str]]:
    """A list that gets the LpnsrWarnings of this context, if ``listen`` was called before."""
    notes: list[str] = []
    token = _heard.set(notes)
    try:
        yield notes
    finally:
        _heard.reset(token)
