"""Tasks -> files: reading and writing in threads around the model, results in the tasks' order."""

from __future__ import annotations

import os
import time
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lpnsr.apps.files.plan import Plan, Task
from lpnsr.apps.files.report import FileOutcome, Observer, Report
from lpnsr.errors import ConfigError, LpnsrError, LpnsrWarning, OutputError
from lpnsr.imaging import DEFAULT_MAX_PIXELS_OF_ROWS, PhotoRows, RowWriter, max_pixels_allowed, write_rows
from lpnsr.system.atomic import check_writable, remove_leftovers
from lpnsr.upscaling.files import GROWTH, Buffers, open_input, result_size, upscale_into
from lpnsr.upscaling.options import FileOptions, ModelOptions, Options


@dataclass(frozen=True)
class BatchSettings:
    """Settings of a batch. jobs: files that are read and written ahead."""

    model: ModelOptions = field(default_factory=ModelOptions)
    options: Options = field(default_factory=Options)
    file: FileOptions = field(default_factory=FileOptions)
    overwrite: bool = False
    skip_existing: bool = False
    jobs: int = 2
    debug: bool = False


def upscale_files(plan: Plan, settings: BatchSettings, *, as_json: bool = False, quiet: bool = False) -> int:
    """Do all tasks; return how many failed. Raises what concerns them all: a model that cannot be loaded, options."""
    max_pixels_allowed(settings.file.max_pixels)
    for folder in {task.target.parent for task in plan.tasks}:
        remove_leftovers(folder)
    with Report(len(plan.tasks), as_json=as_json, quiet=quiet) as report:
        report.passed_over(plan.passed_over)
        if plan.left_out:
            warnings.warn(plan.left_out, LpnsrWarning, stacklevel=2)
        for outcome in Pipeline(settings, report).outcomes(plan.tasks):
            report.finished(outcome)
        return report.failed


class Skipped(Exception):  # noqa: N818 (not an error)
    """The result is there already."""


class _Uncompared(Exception):  # noqa: N818 (not an error)
    """The result is there already, but its before/after picture is not."""


class Pipeline:
    """Does tasks with one model, which stays loaded. ``settings`` may be replaced between batches of tasks."""

    def __init__(self, settings: BatchSettings, observer: Observer) -> None:
        self.settings = settings
        self.observer = observer
        self.readers = 0  # that read ahead
        self.buffers = Buffers.of(settings.model.memory)
        self._upscaler: Any = None

    def _loaded(self, tasks: list[Task], number: int) -> Any:
        """The model, loaded when the first image has been read: files that cannot be read are reported at once."""
        if self._upscaler is None:
            from lpnsr.upscaling.upscaler import Upscaler

            self.observer.loading(self.settings.model.model)
            self._upscaler = Upscaler.from_pretrained(**self.settings.model.model_dump())
            self.settings.options.settled(self._upscaler.spec, self._upscaler.parts)
            self.observer.loaded(self._upscaler, tasks[number:], self.settings)
        return self._upscaler

    def outcomes(self, tasks: list[Task]) -> Iterator[FileOutcome]:
        """One outcome a task, in order; at most ``jobs`` images wait on either side of the model."""
        jobs = self.settings.jobs
        self.readers = min(jobs, len(tasks) - 1)
        reads: deque[Future[PhotoRows]] = deque()
        writes: deque[tuple[FileOutcome, Future[None] | None]] = deque()
        readers, writers = ThreadPoolExecutor(jobs), ThreadPoolExecutor(jobs)
        try:
            reads.extend(readers.submit(self._read, task) for task in tasks[:jobs])
            for number in range(len(tasks)):
                writes.append(self._process(tasks, number, reads.popleft(), writers))
                if number + jobs < len(tasks):
                    reads.append(readers.submit(self._read, tasks[number + jobs]))
                while writes and (len(writes) > jobs or _is_done(writes[0][1])):
                    yield self._settled(*writes.popleft())
            while writes:
                yield self._settled(*writes.popleft())
        finally:
            readers.shutdown(cancel_futures=True)
            writers.shutdown()  # what is computed is also written

    def _read(self, task: Task) -> PhotoRows:
        self.observer.reading(task, self.settings)
        if os.path.lexists(task.target) and not self.settings.overwrite:
            if self.settings.skip_existing:
                raise Skipped if task.compare is None or os.path.lexists(task.compare) else _Uncompared
            raise exists_already(task.target)
        check_writable(task.target)
        rows = self._opened(task.source, task, self.settings.file.max_pixels)
        self.observer.opened(task, rows)
        return rows

    def _opened(self, path: Path | str, task: Task, max_pixels: int | None) -> PhotoRows:
        return open_input(path, task.target, max_pixels=max_pixels, buffers=self.buffers)

    def _process(
        self, tasks: list[Task], number: int, reading: Future[PhotoRows], writers: ThreadPoolExecutor
    ) -> tuple[FileOutcome, Future[None] | None]:
        """Upscale one of ``tasks`` and start writing it; what is settled here comes without a future."""
        started, task = time.monotonic(), tasks[number]
        outcome = FileOutcome(task)
        options, most = self.settings.options, GROWTH * self._most_pixels()
        try:
            rows = reading.result()
            outcome.height, outcome.width = result_size(rows, options, task.source, task.target, most)
        except Skipped:
            outcome.status = "skipped"
            return outcome, None
        except _Uncompared:
            outcome.status, outcome.compared = "skipped", True
            return outcome, writers.submit(self._compare, task, task.target)
        except Exception as error:
            self._failed(outcome, error)
            return outcome, None
        outcome.seconds = time.monotonic() - started
        upscaler = self._loaded(tasks, number)  # what goes wrong here concerns every task
        started = time.monotonic()  # loading the model is no time of the image
        self.observer.started(task)
        try:
            writer = upscale_into(
                task.target,
                upscaler,
                rows,
                options,
                quality=self.settings.file.quality,
                buffers=self.buffers,
                waiting=3 * self.buffers.held * self.readers,  # decoding takes more than what is decoded
                callback=self.observer.tiles,
            )
        except ConfigError:
            raise
        except Exception as error:
            self._failed(outcome, error)
            return outcome, None
        outcome.height, outcome.width = options.output_size((rows.height, rows.width), upscaler.restorer.scale)
        outcome.compared = task.compare is not None
        outcome.seconds += time.monotonic() - started
        writing = writers.submit(self._finish, task, writer)
        if self.buffers.frugal:
            wait([writing])  # what the next image takes was not counted in
        return outcome, writing

    def _most_pixels(self) -> int:
        return max_pixels_allowed(self.settings.file.max_pixels, DEFAULT_MAX_PIXELS_OF_ROWS)

    def _settled(self, outcome: FileOutcome, writing: Future[None] | None) -> FileOutcome:
        """``outcome`` once its files are written."""
        if writing is not None:
            try:
                writing.result()
            except Exception as error:
                self._failed(outcome, error)
        return outcome

    def _failed(self, outcome: FileOutcome, error: Exception) -> None:
        """Note what went wrong with one image, so that the others go on."""
        if isinstance(error, LpnsrError):
            message = str(error)
        elif isinstance(error, MemoryError):
            message = f"{outcome.task.source}: not enough memory"
        elif self.settings.debug:
            raise error
        else:
            text = " ".join(str(error).split())
            message = f"{outcome.task.source}: unexpected {type(error).__name__}: {text} (lpnsr --debug shows where)"
        outcome.status, outcome.error = "failed", message

    def _finish(self, task: Task, writer: RowWriter) -> None:
        try:
            writer.wait()
            self._compare(task, writer.path)
            writer.commit()  # last: its presence says that all is done
        except BaseException:
            writer.abandon()
            raise
        self.observer.written(task)

    def _compare(self, task: Task, result: Path | str) -> None:
        """Write the before/after picture of a result that is in the file ``result``."""
        if task.compare is not None:
            from lpnsr.apps.files.compare import before_after

            limit = self._most_pixels()
            before = self._opened(task.source, task, limit)
            write_rows(before_after(before, self._opened(result, task, GROWTH * limit)), task.compare)


def exists_already(target: object) -> OutputError:
    """The error for a result that is there and was not asked to be replaced."""
    return OutputError(f"{target} exists already; use --overwrite or --skip-existing")


def _is_done(writing: Future[None] | None) -> bool:
    return writing is None or writing.done()
