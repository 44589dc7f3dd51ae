"""The kinds of jobs, and a thread that does one job after another on its device.

A kind is a function of an upscaler and a ``Work``, which returns the result's file.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lpnsr.apps.jobs.hearing import heard, listen
from lpnsr.apps.jobs.inspect import renamed
from lpnsr.apps.jobs.models import Models
from lpnsr.apps.jobs.queue import Job, JobQueue
from lpnsr.apps.jobs.settings import JobOptions, Limits
from lpnsr.errors import LpnsrError
from lpnsr.upscaling.files import upscale_file
from lpnsr.upscaling.progress import Callback, Progress

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """A job for its kind.

    name: what messages call the image. source: the input's file. folder: the job's own, where the result goes.
    callback: to be handed to the upscaler, or called with a ``Progress`` now and then; it raises if the job is
    to stop, and that is to be let through.
    """

    name: str
    source: Path
    folder: Path
    options: JobOptions
    limits: Limits
    callback: Callback


Kind = Callable[[Any, Work], Path]


def upscale(upscaler: Any, work: Work) -> Path:
    """The ordinary kind: the input upscaled, with its metadata and the settings. Nothing large is in memory whole."""
    target = work.folder / f"result{work.options.extension}"
    upscale_file(
        upscaler,
        work.source,
        target,
        work.options.of_image(),
        quality=work.options.quality,
        max_pixels=work.limits.max_pixels,
        most=work.limits.result_pixels,
        callback=work.callback,
    )
    return target


class _Stopped(BaseException):
    """Raised through the upscaler, whose own handlers are not to see it."""


class Worker:
    """Takes jobs from ``queue`` until there are no more. A model is loaded when a job first needs it, and stays until
    too many others were needed since.
    """

    def __init__(self, queue: JobQueue, models: Models, kinds: Mapping[str, Kind], device: str, *, warm: bool) -> None:
        self.ready = not warm
        self._queue, self._models, self._kinds, self._device = queue, models, kinds, device
        self._loaded: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._run, name=f"lpnsr-worker-{device}", daemon=True)

    def start(self) -> None:
        listen()
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end, if it has begun."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        if not self.ready:
            try:
                self._measure(self._models.names[0])
            except Exception as error:
                _log.error("the model cannot be loaded on %s: %s", self._device, error)
        while job := self._queue.take():
            self._do(job)

    def _do(self, job: Job) -> None:
        with heard() as notes:
            result, error = self._attempt(job)
        folder = self._queue.store.folder(job.id)
        notes = [renamed(note, folder, job.record.name) for note in notes]
        if result is None:
            gc.collect()  # what the job held; and only now, for its exception held the frames
            torch = sys.modules.get("torch")
            if torch is not None and torch.cuda.is_initialized():
                torch.cuda.empty_cache()
            self._queue.fail(job, error, notes)
        else:
            self._queue.done(job, result, notes)

    def _attempt(self, job: Job) -> tuple[Path | None, str]:
        """The result's file, or None and why there is none."""
        try:
            result = self._result(job)
            result.stat()
            return result, ""
        except _Stopped:
            return None, "stopped"
        except LpnsrError as error:
            return None, renamed(error, self._queue.store.folder(job.id), job.record.name)
        except MemoryError:
            return None, "there is not enough memory for this image; try a smaller one"
        except Exception:
            _log.exception("job %s failed", job.id)
            return None, "an unexpected error, which the server's log tells more about"

    def _result(self, job: Job) -> Path:
        options, store = job.record.options, self._queue.store
        self._models.check(options)  # a job of an earlier process may ask for what is no more
        if job.record.kind not in self._kinds:
            raise LpnsrError(f"this server does no jobs of the kind {job.record.kind!r}")
        work = Work(
            name=job.record.name,
            source=store.input(job.id),
            folder=store.folder(job.id),
            options=options,
            limits=self._queue.limits,
            callback=partial(self._watch, job),
        )
        upscaler = self._upscaler(str(options.model))
        self._queue.begin(job)
        return self._kinds[job.record.kind](upscaler, work)

    def _watch(self, job: Job, progress: Progress) -> None:
        if not self._queue.advance(job, progress):
            raise _Stopped

    def _measure(self, name: str) -> None:
        """Load a model, and time it without its chain and with the whole."""
        from lpnsr.upscaling.estimate import pixel_seconds

        upscaler = self._upscaler(name)
        usual = self._models.check(JobOptions(model=name)).of_image()
        least, most = (pixel_seconds(upscaler, usual.model_copy(update={"steps": n})) for n in (0, usual.steps))
        count = usual.steps or 1
        rates = {steps: least + (most - least) * steps / count for steps in range(count + 1)}
        self._queue.measured(name, rates)

    def _upscaler(self, name: str) -> Any:
        upscaler = self._loaded.pop(name, None)
        if upscaler is None:
            while len(self._loaded) >= self._models.kept:
                del self._loaded[next(iter(self._loaded))]
            upscaler = self._models.load(name, self._device)
            self.ready = True
        self._loaded[name] = upscaler  # the last used is the last
        return upscaler
