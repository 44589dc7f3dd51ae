"""``Engine``: jobs in a queue, a worker a device, results in a folder; see the package for how it is used."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from lpnsr.apps.jobs.inspect import inspect
from lpnsr.apps.jobs.models import Models
from lpnsr.apps.jobs.queue import JobQueue
from lpnsr.apps.jobs.record import JobRecord
from lpnsr.apps.jobs.settings import JobOptions, Limits, clean_name
from lpnsr.apps.jobs.store import Store
from lpnsr.apps.jobs.worker import Kind, Worker, upscale
from lpnsr.errors import ConfigError

_log = logging.getLogger(__name__)
_SWEEP = 1.0  # seconds between two looks for what has expired


class Engine(JobQueue):
    """A queue of jobs and a worker for each device. Its methods may be called from any thread.

    models: what is served, the first by default. devices: one worker each; see ``Upscaler.from_pretrained``.
    state_dir: where jobs outlive the process; one process at a time. kinds: what jobs can be, by name.
    warm: load the first model at the start instead of with the first job.
    Raises ConfigError, CheckpointError.
    """

    def __init__(
        self,
        models: Models | None = None,
        *,
        devices: Sequence[str] = ("auto",),
        limits: Limits | None = None,
        state_dir: str | Path | None = None,
        kinds: Mapping[str, Kind] | None = None,
        warm: bool = False,
    ) -> None:
        self.models = models or Models()
        self._kinds = {"upscale": upscale, **(kinds or {})}
        super().__init__(Store(None if state_dir is None else Path(state_dir)), limits or Limits(), len(devices))
        self._workers = [Worker(self, self.models, self._kinds, device, warm=warm) for device in devices]
        self._sweeper = threading.Thread(target=self._sweep, name="lpnsr-sweeper", daemon=True)
        self._closed = threading.Event()
        self.finished = False

    def start(self) -> None:
        """Begin to work, with what an earlier process left in the state folder first."""
        self.recall()
        for worker in self._workers:
            worker.start()
        self._sweeper.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(grace=0 if kind else 30)

    def submit(
        self,
        source: bytes | Path | BinaryIO,
        options: Mapping[str, Any] | JobOptions | None = None,
        *,
        owner: str = "",
        name: str = "image",
        kind: str = "upscale",
    ) -> str:
        """Put a copy of an image into the queue and return the job's id, which nobody can guess.

        owner: whose share of the queue it counts to. name: what the client calls the file; only for messages and for
        the result's name. Raises ConfigError (options), ImageReadError, InputError, TooLargeError, OutputError (the
        format cannot hold the result, or the disk is full), BusyError, ClosedError.
        """
        chosen = options if isinstance(options, JobOptions) else JobOptions.parse(options or {}, "options")
        chosen = self.models.check(chosen)
        if kind not in self._kinds:
            raise ConfigError(f"kind = {kind!r}; allowed: {', '.join(self._kinds)}")
        self.check_room(owner)
        id_, shown = secrets.token_urlsafe(16), clean_name(name)
        try:
            path = self.store.put(id_, source, self.limits.max_upload)
            scale = self.models.spec(str(chosen.model)).scale
            size, result = inspect(path, shown, chosen, self.limits, scale)
            self.add(
                JobRecord(
                    id=id_,
                    number=0,
                    kind=kind,
                    owner=owner,
                    name=shown,
                    options=chosen,
                    input_height=size[0],
                    input_width=size[1],
                    height=result[0],
                    width=result[1],
                    created=time.time(),
                )
            )
        except BaseException:
            self.store.remove(id_)
            raise
        return id_

    @property
    def ready(self) -> bool:
        """True if jobs are taken and every worker has started, with its first model if ``warm`` was asked for."""
        return self.accepting and all(worker.ready for worker in self._workers)

    @property
    def at_work(self) -> bool:
        """True if a worker is at work, or loads its model."""
        return any(worker.alive for worker in self._workers)

    def finish(self, grace: float = 30.0, *, patience: float | None = None) -> None:
        """Take no more jobs, give those at hand ``grace`` seconds, and stop the workers; results can still be had.

        With a state folder only what runs is finished; the rest, and what the time did not suffice for, is done by the
        next process with this folder. Without one, the queue is worked off as far as the time suffices, and the rest is
        cancelled. Returns when no worker is at work, which can take a step of the model longer, but no longer than
        ``patience`` seconds, if that is given: then the process is to end, by ``os._exit`` if a worker is ``at_work``.
        Called again meanwhile with less time, it does not wait for the first call.
        """
        self.stop_accepting()
        until = time.monotonic() + grace
        for worker in self._workers:
            worker.join(max(0.0, until - time.monotonic()))
        self.give_up()
        until = time.monotonic() + (patience or 0.0)
        for worker in self._workers:
            worker.join(None if patience is None else max(0.0, until - time.monotonic()))
        self.finished = True

    def close(self, grace: float = 30.0) -> None:
        """``finish`` unless that is done, and let go of the state folder; without one, results are deleted.

        While a worker is still ``at_work``, the state folder stays this process's own; called again, it is let go.
        """
        if not self.finished:
            self.finish(grace)
        self._closed.set()
        if not (self.store.kept and self.at_work):
            self.store.close()

    def _sweep(self) -> None:
        while not self._closed.wait(_SWEEP):
            try:
                self.sweep()
            except Exception:
                _log.exception("looking for expired results failed")
