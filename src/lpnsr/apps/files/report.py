"""The messages of a batch: bars on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.progress import Task as BarTask
from rich.text import Text

from lpnsr.apps.files.plan import Plan
from lpnsr.apps.files.times import LONG, expected_seconds, faster, spoken
from lpnsr.errors import LpnsrWarning
from lpnsr.imaging import max_pixels_allowed
from lpnsr.system.atomic import remove_leftovers
from lpnsr.upscaling.batch import BatchSettings, FileOutcome, Observer, Pipeline, Task
from lpnsr.upscaling.progress import Progress

if TYPE_CHECKING:
    from lpnsr.upscaling.upscaler import Upscaler

_SHOWN = 3


def upscale_files(
    plan: Plan,
    settings: BatchSettings,
    *,
    as_json: bool = False,
    quiet: bool = False,
    shown: Mapping[str, str] | None = None,
) -> int:
    """Upscale all files of a plan; return the number of failures. Raises what concerns all of them.

    shown: names of paths in messages, where they are others.
    """
    max_pixels_allowed(settings.file.max_pixels)
    for folder in {task.target.parent for task in plan.tasks}:
        remove_leftovers(folder)
    with Report(len(plan.tasks), as_json=as_json, quiet=quiet, shown=shown) as report:
        report.passed_over(plan.passed_over)
        if plan.left_out:
            warnings.warn(plan.left_out, LpnsrWarning, stacklevel=2)
        for outcome in Pipeline(settings, report).outcomes(plan.tasks):
            report.finished(outcome)
        return report.failed


class Report(Observer):
    """A context in which outcomes and progress are shown. Messages go to standard error, JSON to standard output."""

    def __init__(
        self, total: int, *, as_json: bool = False, quiet: bool = False, shown: Mapping[str, str] | None = None
    ) -> None:
        self._shown = shown or {}
        self._total = total
        self.as_json = as_json
        self.quiet = quiet
        self._counts = dict.fromkeys(("done", "skipped", "failed"), 0)
        self._results = 0
        self._started = time.monotonic()
        console = _Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _TimeLeft(),
        )
        self._bars = Bars(*columns, console=console, disable=quiet or not console.is_terminal)
        self._seconds: float | None = None  # that an image is expected to take
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
        """Set the number of outcomes."""
        self._total = total
        self._bars.update(self._images, total=total)

    def passed_over(self, results: list[Path]) -> None:
        """Report files that were found and not taken for inputs."""
        self._results = len(results)
        if self.as_json:
            for path in results:
                _print({"input": str(path), "status": "passed_over", "reason": "an earlier result"})
        if results and not self.quiet:
            more = f" and {len(results) - _SHOWN} more" if len(results) > _SHOWN else ""
            self._say(f"passed over as earlier results: {', '.join(map(str, results[:_SHOWN]))}{more}")

    def loading(self, model: str) -> None:
        """Show that the model is being loaded."""
        self._bars.update(self._tiles, description=f"loading {model}", visible=True)

    def loaded(self, upscaler: Upscaler, tasks: list[Task], settings: BatchSettings) -> None:
        """Tell the time that ``tasks`` are expected to take, where it is long."""
        self._bars.reset(self._images, completed=self._settled)
        if not self.quiet and (seconds := expected_seconds(upscaler, tasks, settings)) > LONG:
            self._seconds = seconds / len(tasks)
            self._say(f"expected to take {spoken(seconds)}{faster(upscaler, seconds, settings)}")

    def started(self, task: Task) -> None:
        """Begin the bar of an image."""
        self._bars.reset(self._tiles, description=task.source.name, total=None, visible=True, expected=self._seconds)

    def tiles(self, progress: Progress) -> None:
        """Move the bars: the callback of the upscaler."""
        done: float = progress.done
        if progress.step is not None:
            steps = progress.step.schedule.steps
            done += (steps - progress.step.t + 1) / (steps + 1)  # the rest is for decoding
        self._bars.update(self._tiles, completed=done, total=progress.total)
        self._bars.update(self._images, completed=self._settled + done / max(1, progress.total))

    def finished(self, outcome: FileOutcome) -> None:
        self._counts[outcome.status] += 1
        self._bars.update(self._images, completed=self._settled)
        if self.as_json:
            record = outcome.as_json()
            _print({key: self._named(value) if isinstance(value, str) else value for key, value in record.items()})
        if outcome.status == "failed":
            self._say(f"error: {outcome.error}")
        elif not self.quiet and not self.as_json:
            self._say(_line(outcome))

    def _summary(self) -> None:
        counts = self._counts
        seconds = time.monotonic() - self._started
        if self.as_json:
            passed = {"passed_over": self._results}
            _print({"status": "summary", **counts, **passed, "seconds": round(seconds, 3)})
        if self._total > 1 and (counts["failed"] or not (self.quiet or self.as_json)):
            self._say(
                ", ".join(f"{number} {name}" for name, number in counts.items() if number) + f" in {seconds:.1f} s"
            )

    def _warn(self, message: Warning | str, category: type[Warning], *_rest: Any) -> None:
        if issubclass(category, LpnsrWarning) and not self.quiet:
            self._say(f"warning: {message}")

    def _named(self, text: str) -> str:
        for path, name in self._shown.items():
            text = text.replace(path, name)
        return text

    def _say(self, text: str) -> None:
        with suppress(OSError):  # nobody listens, and the images go on
            self._bars.console.print(self._named(text))
            sys.stderr.flush()


class _Console(Console):
    """A console whose reader may go away."""

    def on_broken_pipe(self) -> None:
        """Say nothing more; rich would end the process."""
        self.quiet = True


def _print(record: dict[str, object]) -> None:
    """Print a line of JSON, in ASCII: any name, any locale."""
    print(json.dumps(record), flush=True)


class _TimeLeft(TimeRemainingColumn):
    """The time left by the speed so far, and before there is one, of the time that is expected."""

    def render(self, task: BarTask) -> Text:
        expected = task.fields.get("expected")
        if task.time_remaining is not None or expected is None or task.elapsed is None:
            return super().render(task)
        left = max(0, round(expected - task.elapsed))
        return Text(f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}", style="progress.remaining")


def _line(outcome: FileOutcome) -> str:
    if outcome.status == "skipped":
        made = f"; wrote {outcome.compare}" if outcome.compare else ""
        return f"{outcome.target} is there already{made}"
    size = f"{outcome.width} x {outcome.height}"
    return f"{outcome.source} -> {outcome.target} ({size}, {outcome.seconds:.1f} s)"
