"""The warnings of one thread, noted instead of shown."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lpnsr.errors import LpnsrWarning

_heard = threading.local()


def listen() -> None:
    """Have the LpnsrWarnings of threads within ``heard`` noted; all others are shown as before."""
    usual = warnings.showwarning
    if getattr(usual, "notes_jobs", False):
        return

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        notes = getattr(_heard, "notes", None)
        if notes is None or not issubclass(category, LpnsrWarning):
            usual(message, category, *place)
        elif str(message) not in notes:
            notes.append(str(message))

    show.notes_jobs = True  # type: ignore[attr-defined]
    warnings.showwarning = show  # type: ignore[assignment]
    warnings.simplefilter("always", LpnsrWarning)


@contextmanager
def heard() -> Iterator[list[str]]:
    """A list that gets the LpnsrWarnings of this thread, if ``listen`` was called before."""
    notes: list[str] = []
    _heard.notes = notes
    try:
        yield notes
    finally:
        del _heard.notes
