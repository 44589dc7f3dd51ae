"""Every job there is, behind one lock: the queue, who runs, what has ended."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lpnsr.apps.jobs.errors import BusyError, ClosedError, GoneError, NotReadyError, UnknownJobError
from lpnsr.apps.jobs.progress import JobProgress, Pace
from lpnsr.apps.jobs.record import JobFacts, JobRecord, State, Status
from lpnsr.apps.jobs.settings import JobOptions, Limits
from lpnsr.apps.jobs.store import Store
from lpnsr.errors import LpnsrError
from lpnsr.upscaling.progress import Progress

_log = logging.getLogger(__name__)
_SHARED = set(JobFacts.model_fields) - {"seconds"}
_LINGER = 5.0  # seconds for which an expired file stays: somebody may just be fetching it
_FEW = (5.0, 10.0)  # seconds until one may try again, where nothing is known
_MOST_ENDED = 10_000  # ended jobs that are remembered


@dataclass(eq=False)
class Job:
    """A record and what is only known while it runs. A job that is stopped has another state than running."""

    record: JobRecord
    progress: JobProgress | None = None
    version: int = 0
    expired: float | None = None
    removed: bool = False
    noted: bool = True  # in the state folder, as it is now

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def state(self) -> State:
        return self.record.state


class JobQueue:
    """All jobs, those that wait in order, and the outcome of those that have ended. Any thread may call any method."""

    def __init__(self, store: Store, limits: Limits, workers: int = 1) -> None:
        self.store = store
        self.limits = limits
        self.workers = workers
        self.accepting = True
        self._taking = True
        self._changed = threading.Condition(threading.RLock())
        self._jobs: dict[str, Job] = {}
        self._queue: list[Job] = []
        self._running: list[Job] = []
        self._counts: Counter[str] = Counter()
        self._pace = Pace()
        self._number = 0

    def check_room(self, owner: str = "") -> None:
        """Raise BusyError or ClosedError if a job of this owner would not be taken now. Cheap."""
        with self._changed:
            if not self.accepting:
                raise ClosedError("this server is being shut down; try again when it is back")
            if len(self._queue) >= self.limits.queue:
                raise self._busy(f"the queue is full with {len(self._queue)} jobs", [*self._running, *self._queue])
            theirs = [job for job in (*self._running, *self._queue) if job.record.owner == owner]
            if self.limits.owner_queue is not None and len(theirs) >= self.limits.owner_queue:
                raise self._busy(f"{len(theirs)} of your jobs are waiting or running, and no more are allowed", theirs)

    def _busy(self, what: str, jobs: list[Job]) -> BusyError:
        """An error with a time at which one of ``jobs`` may end, and so make room.

        It is any of these times: who was refused together is not to come back together, as places come one by one.
        """
        self._counts["rejected"] += 1
        lefts = [self._left(job) for job in (*jobs[: self.workers + 1], jobs[-1])]
        ends = [left for left in lefts if left is not None] or _FEW
        seconds = min(600, max(1, math.ceil(random.uniform(min(ends), max(ends)))))
        return BusyError(f"{what}; try again in {seconds} s", seconds)

    def add(self, record: JobRecord) -> None:
        """Put a job at the end of the queue. Raises BusyError, ClosedError, StorageError."""
        with self._changed:
            self.check_room(record.owner)
            self._number += 1
            record = record.model_copy(update={"number": self._number})
            self.store.save(record)
            self._enqueue(record)
            self._counts["submitted"] += 1

    def _enqueue(self, record: JobRecord) -> None:
        job = Job(record)
        self._jobs[record.id] = job
        self._queue.append(job)
        self._changed.notify_all()

    def recall(self) -> None:
        """Take up what an earlier process left."""
        with self._changed:
            for record in self.store.load():
                self._number = max(self._number, record.number)
                if record.state.ended:
                    self._jobs[record.id] = Job(record)
                elif record.attempts >= self.limits.attempts:
                    job = self._jobs[record.id] = Job(record)
                    self._end(job, State.FAILED, error="the server died while it was at work on this, more than once")
                else:
                    self._enqueue(record.model_copy(update={"state": State.QUEUED}))

    def unfinished(self) -> list[str]:
        """The ids of the jobs that wait or run."""
        with self._changed:
            return [id_ for id_, job in self._jobs.items() if not job.state.ended]

    def status(self, id_: str) -> Status:
        """Raises UnknownJobError."""
        with self._changed:
            return self._status(self._job(id_))

    def jobs(self, owner: str) -> list[Status]:
        """The jobs of an owner that have not expired, oldest first."""
        with self._changed:
            every = [self._status(job) for job in self._jobs.values() if job.record.owner == owner]
        return [status for status in every if status.state is not State.EXPIRED]

    def watch(self, id_: str, *, every: float = 0.2) -> Iterator[Status]:
        """The status now and after every change until the job has ended, at most one in ``every`` seconds."""
        with self._changed:
            job = self._job(id_)
        while True:
            with self._changed:
                seen, status = job.version, self._status(job)
            yield status
            if status.state.ended:
                return
            time.sleep(every)
            with self._changed:  # the second is for the clock and for the jobs ahead
                self._changed.wait_for(lambda seen=seen: job.version != seen, timeout=1.0)  # type: ignore[misc]

    def result(self, id_: str) -> Path:
        """The file of a job that is done, which stays until it expires.

        Raises UnknownJobError, NotReadyError, and GoneError if there is none any more, or there will be none.
        """
        with self._changed:
            job = self._job(id_)
            if not job.state.ended:
                raise NotReadyError(f"the job is {job.state.value}; its result is not there yet")
            if job.state is not State.DONE:
                raise GoneError(f"the job has no result: {job.record.error or job.state.value}")
            if job.record.result is None or job.removed:
                raise GoneError("the result is gone")
            return self.store.folder(id_) / job.record.result

    def cancel(self, id_: str) -> Status:
        """End a job that waits or runs, or delete the result of one that is done. Raises UnknownJobError.

        The state changes at once; a device at work stops at its next step.
        """
        with self._changed:
            job = self._job(id_)
            if not job.state.ended:
                self._end(job, State.CANCELLED, error="cancelled")
            elif job.state is State.DONE:
                self._expire(job)
                self._remove(job)
            return self._status(job)

    def counts(self) -> Counter[str]:
        """Numbers since the start and at this moment.

        Since the start: submitted, done, failed, cancelled, rejected and expired jobs, busy_milliseconds of the
        devices, pixels of the inputs done. At this moment: queued, running, stored_bytes.
        """
        with self._changed:
            stored = sum(job.record.result_bytes for job in self._jobs.values() if not job.removed)
            now = {"queued": len(self._queue), "running": len(self._running), "stored_bytes": stored}
            return Counter({**self._counts, **now})

    # For workers

    def take(self) -> Job | None:
        """The next job, now running; None if there will be no more. Waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or not self._taking or not self.accepting)
            if not self._taking or not self._queue:
                return None
            job = self._queue.pop(0)
            self._running.append(job)
            job.progress = JobProgress()
            self._update(job, state=State.RUNNING, attempts=job.record.attempts + 1)
            return job

    def measured(self, model: str, rates: Mapping[int, float]) -> None:
        """Note the seconds per pixel that a model takes, by the number of its steps."""
        with self._changed:
            self._pace.measured(model, rates)

    def expected_seconds(self, options: JobOptions, pixels: int) -> float | None:
        """Seconds of a job with these settled options; None if nothing is known."""
        with self._changed:
            return self._pace.known(options, pixels)

    def begin(self, job: Job) -> None:
        """Note that its model is there and the work begins."""
        with self._changed:
            if job.progress is not None:
                job.progress.begun = time.monotonic()

    def advance(self, job: Job, state: Progress) -> bool:
        """Note a ``Progress``. Returns whether the job is to go on."""
        with self._changed:
            if job.state is not State.RUNNING or job.progress is None:
                return False
            job.progress.update(state, job.record.options.steps)
            self._pace.glimpse(job.record, job.progress)
            self._touch(job)
            return True

    def done(self, job: Job, result: Path, warnings: list[str]) -> None:
        """Note that the worker has finished; of a job that was stopped meanwhile nothing is kept."""
        with self._changed:
            if job.state is State.RUNNING and job.progress is not None:
                self._pace.learn(job.record, job.progress.at_work)
                self._counts["pixels"] += job.record.input_height * job.record.input_width
                made = {"result": result.name, "result_bytes": result.stat().st_size, "warnings": tuple(warnings)}
                self._end(job, State.DONE, **made)
            self._release(job)

    def fail(self, job: Job, error: str, warnings: list[str]) -> None:
        """Note that the worker has given up; on a job that was stopped anyway, that is nobody's business."""
        with self._changed:
            if job.state is State.RUNNING:
                self._end(job, State.FAILED, error=error, warnings=tuple(warnings))
            self._release(job)

    # For the clock

    def sweep(self) -> None:
        """Stop what runs too long; let results expire, delete their files, and forget them, each in its time; note what
        a full disk did not take.
        """
        now = time.time()
        with self._changed:
            for job in self._jobs.values():
                if not (job.noted or job.removed):
                    self._note(job)
                    self._tidy(job)
            for job in self._running:
                if job.state is State.RUNNING and job.progress and job.progress.seconds > self.limits.timeout:
                    self._end(job, State.FAILED, error=f"stopped: it took longer than {self.limits.timeout:g} s")
            ended = sorted(
                (job for job in self._jobs.values() if job.state.ended), key=lambda job: job.record.ended or 0
            )
            stored = sum(job.record.result_bytes for job in ended if job.state is State.DONE)
            for place, job in enumerate(ended):
                age = now - (job.record.ended or 0)
                if job.state is State.DONE and (age > self.limits.ttl or stored > self.limits.max_stored):
                    stored -= job.record.result_bytes
                    self._expire(job)
                elif job.state is not State.EXPIRED and age > self.limits.ttl:
                    self._expire(job)
                elif job.state is State.EXPIRED and not job.removed and now - (job.expired or 0) > _LINGER:
                    self._remove(job)
                if job.removed and (age > 2 * self.limits.ttl or len(ended) - place > _MOST_ENDED):
                    del self._jobs[job.id]

    def stop_accepting(self) -> None:
        """Refuse new jobs; those that wait are begun unless the state folder keeps them for the next process."""
        with self._changed:
            self.accepting = False
            self._taking = self._taking and not self.store.kept
            self._changed.notify_all()

    def give_up(self) -> None:
        """Hand what waits or runs back to the state folder; where there is none, cancel it."""
        with self._changed:
            self._taking = False
            for job in [*self._queue, *self._running]:
                if job.state.ended:
                    continue
                if not self.store.kept:
                    self._end(job, State.CANCELLED, error="the server was shut down")
                elif job.state is State.RUNNING:
                    self._update(job, state=State.QUEUED, attempts=job.record.attempts - 1)
            self._changed.notify_all()

    # Behind the lock

    def _job(self, id_: str) -> Job:
        job = self._jobs.get(id_)
        if job is None:
            raise UnknownJobError("there is no job of this id; it may have expired long ago")
        return job

    def _touch(self, job: Job) -> None:
        job.version += 1
        self._changed.notify_all()

    def _update(self, job: Job, **changes: Any) -> None:
        job.record = job.record.model_copy(update=changes)
        self._note(job)
        self._touch(job)

    def _note(self, job: Job) -> None:
        try:
            self.store.save(job.record)
            job.noted = True
        except LpnsrError as error:  # the work itself can go on
            if job.noted:
                _log.warning("the state of a job cannot be kept now: %s", error)
            job.noted = False

    def _tidy(self, job: Job) -> None:
        """Delete what is needed no more, also if the process died now and another read what is noted."""
        if job.noted and job not in self._running:
            self.store.tidy(job.record)

    def _end(self, job: Job, state: State, **changes: Any) -> None:
        seconds = job.progress.seconds if job.progress else None
        self._counts[state.value] += 1
        self._counts["busy_milliseconds"] += round(1000 * (seconds or 0))
        self._update(job, state=state, ended=time.time(), seconds=seconds, **changes)
        if job in self._queue:
            self._queue.remove(job)
        self._tidy(job)

    def _release(self, job: Job) -> None:
        """The worker has let go of a job."""
        self._running.remove(job)
        self._tidy(job)
        self._touch(job)

    def _expire(self, job: Job) -> None:
        job.expired = time.time()
        self._counts["expired"] += job.state is State.DONE
        self._update(job, state=State.EXPIRED)

    def _remove(self, job: Job) -> None:
        self.store.remove(job.id)
        job.removed = True

    def _status(self, job: Job) -> Status:
        record, progress = job.record, job.progress or JobProgress()
        running, queued = job.state is State.RUNNING, job in self._queue
        return Status(
            position=self._queue.index(job) + 1 if queued else None,
            progress=1.0 if job.state is State.DONE else progress.fraction,
            tiles_done=progress.done,
            tiles=progress.total,
            steps_done=progress.step,
            steps=progress.steps,
            seconds_left=self._left(job) if running or queued else None,
            seconds=progress.seconds if running else record.seconds,
            expires=record.ended + self.limits.ttl if record.ended and job.state is not State.EXPIRED else None,
            file_name=f"{Path(record.name).stem}_{record.width}x{record.height}{record.options.extension}",
            **record.model_dump(include=_SHARED),
        )

    def _left(self, job: Job) -> float | None:
        """Seconds until a job that waits or runs has ended; None if nothing is known of them."""
        if job.progress is not None:
            return self._pace.left(job.record, job.progress)
        own = self._pace.expected(job.record)
        return None if own is None else max(1.0, self._wait(self._queue.index(job)) + own)

    def _wait(self, place: int) -> float:
        """Seconds until the job at this place of the queue begins; what is not known counts nothing."""
        work = [self._pace.left(job.record, job.progress) for job in self._running if job.progress]
        work += [self._pace.expected(job.record) for job in self._queue[:place]]
        return sum(seconds or 0.0 for seconds in work) / self.workers
