"""Progress bar on a terminal."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """A progress bar with the time left; ``shown`` is False where stderr is no terminal."""

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        console = Console(stderr=True, soft_wrap=True)
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        self.shown = console.is_terminal
        self._bar = Progress(*columns, TextColumn("{task.fields[text]}"), console=console, disable=not self.shown)
        self._task = self._bar.add_task(title, total=total, completed=done, text="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, done: int) -> None:
        """Set how much is done."""
        self._bar.update(self._task, completed=done)

    def say(self, text: str) -> None:
        """Show ``text`` behind the bar."""
        self._bar.update(self._task, text=text)
