"""What the user sees: bars on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import json
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from lpnsr.apps.files.plan import Task
from lpnsr.errors import LpnsrWarning

_SHOWN = 3
_LISTED = 1000


@dataclass(frozen=True)
class Named:
    """A task by the names that are shown, where they are no paths."""

    source: str
    target: str
    compare: None = None


@dataclass
class Outcome:
    """How a task ended."""

    task: Task | Named
    status: Literal["done", "skipped", "failed"] = "done"
    error: str | None = None
    seconds: float = 0.0
    height: int | None = None
    width: int | None = None
    compared: bool = False  # a before/after picture was written

    def as_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "input": str(self.task.source),
            "output": str(self.task.target),
            "status": self.status,
            "seconds": round(self.seconds, 3),
        }
        if self.status == "done":
            record |= {"width": self.width, "height": self.height}
        if self.compared and self.status != "failed":
            record["compare"] = str(self.task.compare)
        return record | ({"error": self.error} if self.error else {})


class Report:
    """A context in which outcomes and progress are shown. Messages go to standard error, JSON to standard output."""

    def __init__(self, total: int, *, as_json: bool = False, quiet: bool = False) -> None:
        self._total = total
        self.as_json = as_json
        self.quiet = quiet
        self._counts = dict.fromkeys(("done", "skipped", "failed"), 0)
        self._errors: list[str | None] = []  # the first
        self._results = 0
        self._started = time.monotonic()
        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._bars = Progress(*columns, console=console, disable=quiet or not console.is_terminal)
        self._images: TaskID = self._bars.add_task("images", total=total)
        self._tiles: TaskID = self._bars.add_task("tiles", total=None, visible=False)
        self._warnings = warnings.catch_warnings()

    @property
    def failed(self) -> int:
        return self._counts["failed"]

    @property
    def _settled(self) -> int:
        return sum(self._counts.values())

    def __enter__(self) -> Self:
        self._warnings.__enter__()
        warnings.simplefilter("always", LpnsrWarning)
        warnings.showwarning = self._warn  # type: ignore[assignment]
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self._bars.stop()
        self._warnings.__exit__(None, None, None)
        if kind is None:
            self._summary()

    def expect(self, total: int) -> None:
        """There will be so many outcomes in all."""
        self._total = total
        self._bars.update(self._images, total=total)

    def passed_over(self, results: list[Path]) -> None:
        """Tell of files that were found and not taken for inputs."""
        self._results = len(results)
        if self.as_json:
            for path in results:
                print(json.dumps({"input": str(path), "status": "passed_over", "reason": "an earlier result"}))
        if results and not self.quiet:
            more = f" and {len(results) - _SHOWN} more" if len(results) > _SHOWN else ""
            self._say(f"passed over as earlier results: {', '.join(map(str, results[:_SHOWN]))}{more}")

    def loading(self, model: str) -> None:
        self._bars.update(self._tiles, description=f"loading {model}", visible=True)

    def started(self, task: Task) -> None:
        self._bars.reset(self._tiles, description=task.source.name, total=None, visible=True)

    def tiles(self, progress: Any) -> None:
        """Callback of the upscaler: ``progress.done`` of ``progress.total`` tiles."""
        self._bars.update(self._tiles, completed=progress.done, total=progress.total)
        self._bars.update(self._images, completed=self._settled + progress.done / max(1, progress.total))

    def finished(self, outcome: Outcome) -> None:
        self._counts[outcome.status] += 1
        if outcome.status == "failed" and len(self._errors) < _LISTED:
            self._errors.append(outcome.error)
        self._bars.update(self._images, completed=self._settled)
        if self.as_json:
            print(json.dumps(outcome.as_json()), flush=True)  # in ASCII: any name, any locale
        if outcome.status == "failed":
            self._say(f"error: {outcome.error}")
        elif not self.quiet and not self.as_json:
            self._say(_line(outcome))

    def _summary(self) -> None:
        counts = self._counts
        seconds = time.monotonic() - self._started
        if self.as_json:
            passed = {"passed_over": self._results}
            print(json.dumps({"status": "summary", **counts, **passed, "seconds": round(seconds, 3)}), flush=True)
        if self._total > 1 and (counts["failed"] or not (self.quiet or self.as_json)):
            self._say(
                ", ".join(f"{number} {name}" for name, number in counts.items() if number) + f" in {seconds:.1f} s"
            )
            for error in self._errors:
                self._say(f"  failed: {error}")
            if counts["failed"] > len(self._errors):
                self._say(f"  and {counts['failed'] - len(self._errors)} more")

    def _warn(self, message: Warning | str, category: type[Warning], *_rest: Any) -> None:
        if issubclass(category, LpnsrWarning) and not self.quiet:
            self._say(f"warning: {message}")

    def _say(self, text: str) -> None:
        self._bars.console.print(text)
        sys.stderr.flush()


def _line(outcome: Outcome) -> str:
    if outcome.status == "skipped":
        made = f"; wrote {outcome.task.compare}" if outcome.compared else ""
        return f"{outcome.task.target} is there already{made}"
    size = f"{outcome.width} x {outcome.height}"
    return f"{outcome.task.source} -> {outcome.task.target} ({size}, {outcome.seconds:.1f} s)"
