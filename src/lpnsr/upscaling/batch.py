"""Many images from file to file: reading and writing in threads around the model, outcomes in the tasks' order."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lpnsr.errors import ConfigError, LpnsrError, OutputError
from lpnsr.imaging import DEFAULT_MAX_PIXELS_OF_ROWS, PhotoRows, RowWriter, max_pixels_allowed, write_rows
from lpnsr.system.atomic import check_writable
from lpnsr.upscaling.files import GROWTH, Buffers, open_input, result_size, upscale_into
from lpnsr.upscaling.options import FileOptions, ModelOptions, Options
from lpnsr.upscaling.progress import Progress

if TYPE_CHECKING:
    from lpnsr.upscaling.upscaler import Upscaler


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


@dataclass(frozen=True)
class Task:
    """One image: read ``source``, write ``target`` and, if wanted, the before/after picture ``compare``."""

    source: Path
    target: Path
    compare: Path | None = None

    @property
    def written(self) -> list[Path]:
        """The files that are written."""
        return [self.target] if self.compare is None else [self.target, self.compare]


@dataclass
class FileOutcome:
    """Result of a task. compare: the before/after picture, where one was written."""

    source: str
    target: str
    status: Literal["done", "skipped", "failed"] = "done"
    error: str | None = None
    seconds: float = 0.0
    height: int | None = None
    width: int | None = None
    compare: str | None = None

    def as_json(self) -> dict[str, object]:
        """The fields that apply to the status, for machines."""
        record = {"input": self.source, "output": self.target, "status": self.status, "seconds": round(self.seconds, 3)}
        if self.status == "done":
            record |= {"width": self.width, "height": self.height}
        if self.compare and self.status != "failed":
            record["compare"] = self.compare
        return record | ({"error": self.error} if self.error else {})


class Observer:
    """Receiver of the events of a ``Pipeline``. Methods run in the model's thread unless they say otherwise."""

    def reading(self, task: Task, settings: BatchSettings) -> None:
        """``task.source`` is about to be read; called in a thread. May raise Skipped or an LpnsrError."""

    def opened(self, task: Task, rows: PhotoRows) -> None:
        """``task.source`` is open; called in the same thread."""

    def loading(self, model: str) -> None:
        """The model is about to be loaded."""

    def loaded(self, upscaler: Upscaler, tasks: list[Task], settings: BatchSettings) -> None:
        """The model is loaded, and ``tasks`` are left."""

    def started(self, task: Task) -> None:
        """``task.source`` is about to be upscaled."""

    def tiles(self, progress: Progress) -> None:
        """The callback of the upscaler."""

    def written(self, task: Task) -> None:
        """``task.target`` is written; called in a thread."""


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
        self._upscaler: Upscaler | None = None

    def _loaded(self, tasks: list[Task], number: int) -> Upscaler:
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
        outcome = FileOutcome(str(task.source), str(task.target))
        options, most = self.settings.options, GROWTH * self._most_pixels()
        try:
            rows = reading.result()
            outcome.seconds = time.monotonic() - started
        except Skipped:
            outcome.status = "skipped"
            return outcome, None
        except _Uncompared:
            outcome.status, outcome.compare = "skipped", str(task.compare)
            return outcome, writers.submit(self._compare, task, task.target)
        except Exception as error:
            self._failed(outcome, error)
            return outcome, None
        upscaler = self._loaded(tasks, number)  # what goes wrong here concerns every task
        started = time.monotonic()  # loading PyTorch and the model is no time of the image
        try:
            outcome.height, outcome.width = result_size(rows, options, task.source, task.target, most, upscaler.scale)
        except LpnsrError as error:
            self._failed(outcome, error)
            return outcome, None
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
        outcome.compare = None if task.compare is None else str(task.compare)
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
            message = f"{outcome.source}: not enough memory"
        elif self.settings.debug:
            raise error
        else:
            text = " ".join(str(error).split())
            message = f"{outcome.source}: unexpected {type(error).__name__}: {text} (lpnsr --debug shows where)"
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
            from lpnsr.upscaling.compare import before_after

            limit = self._most_pixels()
            before = self._opened(task.source, task, limit)
            write_rows(before_after(before, self._opened(result, task, GROWTH * limit)), task.compare)


def exists_already(target: object) -> OutputError:
    """The error for a result that is there and was not asked to be replaced."""
    return OutputError(f"{target} exists already; use --overwrite or --skip-existing")


def _is_done(writing: Future[None] | None) -> bool:
    return writing is None or writing.done()
