"""Tasks -> files: reading and writing in threads around the model, results in the tasks' order."""

from __future__ import annotations

import os
import time
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from lpnsr.apps.files.plan import Plan, Task
from lpnsr.apps.files.report import Outcome, Report
from lpnsr.errors import ConfigError, InputError, LpnsrError, LpnsrWarning, OutputError
from lpnsr.imaging import (
    DEFAULT_MAX_PIXELS_OF_ROWS,
    PhotoRows,
    RowWriter,
    check_size,
    encoding_bytes,
    max_pixels_allowed,
    open_rows,
    write_rows,
)
from lpnsr.imaging.opening import HELD
from lpnsr.system.atomic import check_writable, make_folder_of, remove_leftovers
from lpnsr.system.memory import parse_memory

_GROWTH = 16  # how many times the input's limit of pixels a result may have


@dataclass(frozen=True)
class Request:
    """What to do with each task. model: arguments of ``Upscaler.from_pretrained``. size: of ``output_size``.

    options: the others of ``Upscaler.upscale_rows``.
    """

    model: dict[str, Any]
    size: dict[str, Any] = field(default_factory=lambda: {"scale": 4.0})
    options: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    skip_existing: bool = False
    quality: int | None = None
    max_pixels: int | None = None
    jobs: int = 2
    debug: bool = False


def run(plan: Plan, request: Request, *, as_json: bool = False, quiet: bool = False) -> int:
    """Do all tasks; return how many failed. Raises what concerns them all: a model that cannot be loaded, options."""
    max_pixels_allowed(request.max_pixels)
    for folder in {task.target.parent for task in plan.tasks}:
        remove_leftovers(folder)
    with Report(len(plan.tasks), as_json=as_json, quiet=quiet) as report:
        report.passed_over(plan.passed_over)
        if plan.left_out:
            warnings.warn(plan.left_out, LpnsrWarning, stacklevel=2)
        for outcome in Worker(request, report).outcomes(plan.tasks):
            report.finished(outcome)
        return report.failed


class Skipped(Exception):  # noqa: N818 (not an error)
    """The result is there already."""


class _Uncompared(Exception):  # noqa: N818 (not an error)
    """The result is there already, but its before/after picture is not."""


@dataclass(frozen=True)
class _Shares:
    """Bytes for what waits around the model. held: pixels up to which an image is decoded before its turn. ahead:
    strips of a result that wait for the encoder. frugal: whether memory is to be saved.
    """

    held: int = HELD
    ahead: int = 1 << 26
    frugal: bool = False

    @classmethod
    def of(cls, memory: int | str | None) -> _Shares:
        if memory is None:
            return cls()
        size = parse_memory(memory)
        return cls(min(cls.held, size // 128), min(cls.ahead, size // 64), True)


class Listener(Protocol):
    """Who is told what a worker does; see ``Report``."""

    def loading(self, model: str) -> None: ...

    def started(self, task: Task) -> None: ...

    def tiles(self, progress: Any) -> None: ...


class Worker:
    """Does tasks with one model, which stays loaded."""

    def __init__(self, request: Request, report: Listener) -> None:
        self.request = request
        self.report = report
        self.readers = 0  # that read ahead
        self.shares = _Shares.of(request.model.get("memory"))

    @cached_property
    def upscaler(self) -> Any:
        """Loaded when the first image has been read: files that cannot be read are reported at once."""
        from lpnsr.upscaling.upscaler import Options, Upscaler

        Options.parse(self.request.options, "options")  # what is wrong with them is told before a model is fetched
        self.report.loading(self.request.model["model"])
        chosen = {key: value for key, value in self.request.model.items() if key != "model"}
        return Upscaler.from_pretrained(self.request.model["model"], **chosen)

    def outcomes(self, tasks: list[Task]) -> Iterator[Outcome]:
        """One outcome a task, in order; at most ``jobs`` images wait on either side of the model."""
        jobs = self.request.jobs
        self.readers = min(jobs, len(tasks) - 1)
        reads: deque[Future[PhotoRows]] = deque()
        writes: deque[tuple[Outcome, Future[None] | None]] = deque()
        readers, writers = ThreadPoolExecutor(jobs), ThreadPoolExecutor(jobs)
        try:
            reads.extend(readers.submit(self._read, task) for task in tasks[:jobs])
            for number, task in enumerate(tasks):
                writes.append(self._process(task, reads.popleft(), writers))
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
        if os.path.lexists(task.target) and not self.request.overwrite:
            if self.request.skip_existing:
                raise Skipped if task.compare is None or os.path.lexists(task.compare) else _Uncompared
            raise exists_already(task.target)
        check_writable(task.target)
        return self._opened(task.source, task, self.request.max_pixels)

    def _opened(self, path: Path | str, task: Task, max_pixels: int | None) -> PhotoRows:
        return open_rows(path, max_pixels=max_pixels, held=self.shares.held, scratch=_existing(task.target.parent))

    def _process(
        self, task: Task, reading: Future[PhotoRows], writers: ThreadPoolExecutor
    ) -> tuple[Outcome, Future[None] | None]:
        """Upscale one image and start writing it; outcomes that are settled here come without a future."""
        started = time.monotonic()
        outcome = Outcome(task)
        try:
            rows = reading.result()
            height, width = self._result_size(task, rows)
        except Skipped:
            outcome.status = "skipped"
            return outcome, None
        except _Uncompared:
            outcome.status, outcome.compared = "skipped", True
            return outcome, writers.submit(self._compare, task, task.target)
        except Exception as error:
            self._failed(outcome, error)
            return outcome, None
        upscaler = self.upscaler  # what goes wrong here concerns every task
        self.report.started(task)
        try:
            writer = self._made(upscaler, task, rows, (height, width))
        except ConfigError:
            raise
        except Exception as error:
            self._failed(outcome, error)
            return outcome, None
        outcome.height, outcome.width = height, width
        outcome.compared = task.compare is not None
        outcome.seconds = time.monotonic() - started
        writing = writers.submit(self._finish, task, writer)
        if self.shares.frugal:
            wait([writing])  # what the next image takes was not counted in
        return outcome, writing

    def _made(self, upscaler: Any, task: Task, rows: PhotoRows, size: tuple[int, int]) -> RowWriter:
        """The result, put into a writer while it is made."""
        frugal = self.shares.frugal
        like = replace(rows, height=size[0], width=size[1])
        waiting = self.shares.ahead + 3 * self.shares.held * self.readers  # decoding takes more than what is decoded
        result = upscaler.upscale_rows(
            rows,
            height=size[0],
            width=size[1],
            callback=self.report.tiles,
            scratch=_existing(task.target.parent),
            reserved=waiting + encoding_bytes(like, task.target, frugal=frugal),
            **self.request.options,
        )
        writer: RowWriter | None = None
        try:
            for strip in result.strips:
                if writer is None:
                    make_folder_of(task.target)
                    quality, ahead = self.request.quality, self.shares.ahead
                    writer = RowWriter(result, task.target, quality=quality, frugal=frugal, ahead=ahead)
                writer.put(strip)
            assert writer is not None
            writer.finish()
        except BaseException:
            if writer is not None:
                writer.abandon()
            raise
        return writer

    def _most_pixels(self) -> int:
        return max_pixels_allowed(self.request.max_pixels, DEFAULT_MAX_PIXELS_OF_ROWS)

    def _result_size(self, task: Task, rows: PhotoRows) -> tuple[int, int]:
        from lpnsr.imaging import output_size  # imports torch, which refused arguments should not wait for

        height, width = output_size((rows.height, rows.width), **self.request.size)
        limit = _GROWTH * self._most_pixels()
        if height * width > limit:
            raise InputError(
                f"{task.source}: the result would have {width} x {height} pixels, and {limit:,} is the limit; choose a "
                "smaller size, or raise the limit with --max-pixels"
            )
        check_size(task.target, height, width)
        return height, width

    def _settled(self, outcome: Outcome, writing: Future[None] | None) -> Outcome:
        """``outcome`` once its files are written."""
        if writing is not None:
            try:
                writing.result()
            except Exception as error:
                self._failed(outcome, error)
        return outcome

    def _failed(self, outcome: Outcome, error: Exception) -> None:
        """Note what went wrong with one image, so that the others go on."""
        if isinstance(error, LpnsrError):
            message = str(error)
        elif isinstance(error, MemoryError):
            message = f"{outcome.task.source}: not enough memory"
        elif self.request.debug:
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

    def _compare(self, task: Task, result: Path | str) -> None:
        """Write the before/after picture of a result that is in the file ``result``."""
        if task.compare is not None:
            from lpnsr.apps.files.compare import before_after

            limit = self._most_pixels()
            before = self._opened(task.source, task, limit)
            write_rows(before_after(before, self._opened(result, task, _GROWTH * limit)), task.compare)


def exists_already(target: object) -> OutputError:
    """The error for a result that is there and was not asked to be replaced."""
    return OutputError(f"{target} exists already; use --overwrite or --skip-existing")


def _existing(folder: Path) -> Path:
    """``folder``, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def _is_done(writing: Future[None] | None) -> bool:
    return writing is None or writing.done()
