"""Making a pool of degraded pairs: in processes, for as long as there is time, and on from where a call before ended.

pool/making.jsonl              while it is made: what of, then for each job how many crops, or why there are none
pool/hr.npy.part, lr.npy.part  the crops of those jobs
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np

from lpnsr.checkpoints.hashes import file_sha256
from lpnsr.degradation import DRAWING_ORDER
from lpnsr.errors import TrainingError
from lpnsr.imaging import write_bytes
from lpnsr.training.crops import Pixels, crops_of
from lpnsr.training.data import MANIFEST, VALIDATION, damaged, is_whole, read_manifest
from lpnsr.training.progress import Bar
from lpnsr.training.recipe import DataRecipe

_AT_A_TIME = 64  # crops of one job, of which a call that is to end waits for two or three in each process
Stop = Callable[[], bool]
_Job = tuple[int, int, tuple[int, ...]]  # a photograph's number, how many crops, the seed
log = logging.getLogger(__name__)


def never() -> bool:
    """Nobody wants the call to end."""
    return False


def pool_bytes(recipe: DataRecipe) -> int:
    """What a pool takes on the disk."""
    return recipe.pool * 3 * (recipe.crop**2 + (recipe.crop // 4) ** 2)


def prepare_pool(
    images: Sequence[Path], recipe: DataRecipe, seed: int, folder: Path, workers: int = 2, stop: Stop = never
) -> None:
    """Make the pool in ``folder``, or see that the one there was made of the same files by the same degradation.

    Where ``stop`` ends it before it is whole, the next call goes on. Raises TrainingError if it was made of something
    else, or if no photograph is fit for training.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _workers(workers) as crew:
            digests = _digests(crew, images, never if is_whole(folder) else stop)
            if digests is None:
                return
            made_of = _made_of(recipe, seed, digests)
            if not is_whole(folder):
                _Making(images, made_of, recipe, folder).run(crew, stop)
                return
    except BrokenProcessPool:
        if stop():  # whoever ends this process ended those too
            return
        raise TrainingError(
            "a process that degrades photographs was ended from outside, perhaps for want of memory; what is done is "
            "kept: give the same call again, with fewer --workers where memory is short"
        ) from None
    except OSError as error:
        raise TrainingError(
            f"{error.filename or folder} cannot be written: {error.strerror or error}; what is done is kept. Make "
            "room, and go on"
        ) from None
    _check_same(read_manifest(folder)[0], made_of, folder)


def _check_same(made: dict[str, Any], made_of: dict[str, Any], folder: Path) -> None:
    if made != made_of:
        raise TrainingError(
            f"{folder} was made of other photographs, by another recipe or by another version of the degradation: "
            "choose another --out, or delete it"
        )


class _Rows:
    """One side of the pairs, in a NumPy file that grows: its header leaves room for the number of rows."""

    def __init__(self, folder: Path, name: str, side: int) -> None:
        self.path, self.part = folder / f"{name}.npy", folder / f"{name}.npy.part"
        self.side = side

    def has(self, rows: int) -> bool:
        """Whether as many are there, under whichever name: without a manifest it is no pool yet."""
        if self.path.exists() and not self.part.exists():
            self.path.replace(self.part)
        return self.part.exists() and self.part.stat().st_size >= self._length(rows)

    def cut(self, rows: int) -> None:
        """Let what comes next follow ``rows``."""
        self.part.touch()
        os.truncate(self.part, self._length(rows))

    def finish(self, rows: int) -> None:
        """Put the file in its place."""
        with self.part.open("r+b") as file:
            file.write(self._header(rows))
        self.part.replace(self.path)

    def _length(self, rows: int) -> int:
        return len(self._header(rows)) + rows * 3 * self.side**2

    def _header(self, rows: int) -> bytes:
        header = io.BytesIO()
        shape = (rows, self.side, self.side, 3)
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        return header.getvalue()


class _Making:
    """Jobs in a fixed order, whose pairs are appended to two files."""

    def __init__(self, images: Sequence[Path], made_of: dict[str, Any], recipe: DataRecipe, folder: Path) -> None:
        self.images, self.made_of, self.recipe, self.folder = images, made_of, recipe, folder
        order = sorted(range(len(images)), key=lambda i: made_of["sha256"][i])
        self.held = order[: _held(recipe, len(images))]
        training = [i for i in range(len(images)) if i not in self.held]
        seed = made_of["seed"]
        self.jobs: list[_Job] = [
            (i, min(_AT_A_TIME, count - first), (seed, i, *([first] if first else [])))
            for i, count in _shares(recipe.pool, training).items()
            for first in range(0, count, _AT_A_TIME)
        ]
        self.sides = _Rows(folder, "hr", recipe.crop), _Rows(folder, "lr", recipe.crop // 4)
        self.journal = folder / "making.jsonl"

    def run(self, crew: _Crew, stop: Stop) -> None:
        """To the end, or until ``stop``."""
        done = self._begin()
        tenth = max(1, len(self.jobs) // 10)
        with Bar("degrading", len(self.jobs), len(done)) as bar:
            for outcome in self._append(crew, self.jobs[len(done) :]):
                done.append(outcome)
                bar.advance(len(done))
                ended = len(done) < len(self.jobs) and stop()
                if ended or (len(done) % tenth == 0 and not bar.shown):
                    log.info("%d of %d crops are degraded", _rows(done), self.recipe.pool)
                if ended:
                    return
        self._finish(crew, done)

    def _begin(self) -> list[int | str]:
        """The outcomes of the jobs that are done: the number of crops, or why there are none."""
        log.info(
            "degrading %d crops of %d photographs; %s kept from training for scores and sample grids",
            self.recipe.pool,
            len(self.images) - len(self.held),
            f"{len(self.held)} more are" if self.held else "none are",
        )
        done = self._journalled()
        if not all(side.has(_rows(done)) for side in self.sides):
            done = []
        if done:
            log.info("%d of them are there", _rows(done))
        for side in self.sides:
            side.cut(_rows(done))
        lines = "".join(json.dumps(line) + "\n" for line in (self.made_of, *done))
        write_bytes(self.journal, lines.encode())
        return done

    def _journalled(self) -> list[int | str]:
        if not self.journal.exists():
            return []
        whole, _, _ = self.journal.read_bytes().rpartition(b"\n")  # a kill may have left a piece of a line
        try:
            made, *done = [json.loads(line) for line in whole.splitlines()] or [self.made_of]
        except ValueError as error:
            raise damaged(self.journal, error) from None
        _check_same(made, self.made_of, self.folder)
        return done

    def _append(self, crew: _Crew, jobs: Sequence[_Job]) -> Iterator[int | str]:
        paths = [self.journal, *(side.part for side in self.sides)]
        with ExitStack() as stack:
            journal, *files = [stack.enter_context(path.open("ab")) for path in paths]
            for crops in self._crops(crew, jobs):
                outcome = crops if isinstance(crops, str) else len(crops[0])
                if not isinstance(crops, str):
                    for file, pixels in zip(files, crops, strict=True):
                        file.write(pixels.tobytes())
                        file.flush()
                journal.write(f"{json.dumps(outcome)}\n".encode())
                journal.flush()
                yield outcome

    def _crops(self, crew: _Crew, jobs: Sequence[_Job]) -> Iterator[tuple[Pixels, Pixels] | str]:
        calls = ((self.images[i], count, self.recipe, seed) for i, count, seed in jobs)
        return crew.in_order(crops_of, calls)

    def _finish(self, crew: _Crew, done: list[int | str]) -> None:
        held: list[_Job] = [(i, 1, (self.made_of["seed"], i)) for i in sorted(self.held)]
        validation = list(self._crops(crew, held))
        entries = [{"file": str(p), "sha256": s} for p, s in zip(self.images, self.made_of["sha256"], strict=True)]
        outcomes = zip(self.jobs + held, done + [c if isinstance(c, str) else 1 for c in validation], strict=True)
        for (i, _, _), outcome in outcomes:
            entry: dict[str, Any] = entries[i]
            if isinstance(outcome, str):
                if "passed_over" not in entry:
                    log.warning("%s: passed over, %s", self.images[i], outcome)
                entry["passed_over"] = outcome
            else:
                entry["crops"] = entry.get("crops", 0) + outcome
                entry["use"] = "validation" if i in self.held else "training"
        if not _rows(done):
            raise TrainingError(f"none of the {len(self.images)} photographs can be used: see the reasons above")
        empty = tuple(np.zeros((0, side.side, side.side, 3), np.uint8) for side in self.sides)
        pairs = [empty, *(crops for crops in validation if not isinstance(crops, str))]
        hr, lr = (np.concatenate(crops) for crops in zip(*pairs, strict=True))
        with (self.folder / VALIDATION).open("wb") as file:
            np.savez(file, hr=hr, lr=lr)
        for side in self.sides:
            side.finish(_rows(done))
        told = {"made_of": self.made_of, "images": [entry for entry in entries if len(entry) > 2]}
        write_bytes(self.folder / MANIFEST, json.dumps(told, indent=1).encode())  # last: it says that the pool is whole
        self.journal.unlink()


def _held(recipe: DataRecipe, photographs: int) -> int:
    """How many are kept from training."""
    return min(recipe.validation, photographs // 10)


def _rows(outcomes: Sequence[int | str]) -> int:
    return sum(outcome for outcome in outcomes if not isinstance(outcome, str))


def _shares(total: int, indices: Sequence[int]) -> dict[int, int]:
    """``total`` crops dealt out evenly."""
    counts = np.bincount(np.arange(total) % len(indices), minlength=len(indices))
    return {index: int(n) for index, n in zip(indices, counts, strict=True) if n}


def _digests(crew: _Crew, images: Sequence[Path], stop: Stop) -> list[str] | None:
    """SHA-256 of the files; None if ``stop`` was sooner."""
    digests: list[str] = []
    for digest in crew.in_order(_digest, ((path,) for path in images)):
        digests.append(digest)
        if len(digests) < len(images) and stop():
            log.info(
                "%d of %d photographs are looked at; before all are, nothing is degraded", len(digests), len(images)
            )
            return None
    return digests


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return "unreadable"  # whoever reads it for its crops says why


def _made_of(recipe: DataRecipe, seed: int, digests: Sequence[str]) -> dict[str, Any]:
    """All that a pool depends on."""
    presets = {name: recipe.preset(name).model_dump(mode="json") for name in recipe.degradations}
    drawn: dict[str, Any] = {"drawing_order": DRAWING_ORDER, "degradations": presets}
    if recipe.pool > _AT_A_TIME * (len(digests) - _held(recipe, len(digests))):
        drawn["crops_of_a_job"] = _AT_A_TIME
    return {"data": recipe.model_dump(mode="json"), **drawn, "seed": seed, "sha256": list(digests)}


@dataclass(frozen=True)
class _Crew:
    """Processes, and how many calls may wait for them or their results for the one before them."""

    executor: ProcessPoolExecutor
    ahead: int

    def in_order(self, work: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """The results, in the order of the calls."""
        waiting: deque[Future[Any]] = deque()
        for call in calls:
            waiting.append(self.executor.submit(work, *call))
            if len(waiting) > self.ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def _workers(number: int) -> Iterator[_Crew]:
    """Processes that leave Ctrl-C to this one, and end when it does, however it does."""
    with ProcessPoolExecutor(number, get_context("spawn"), _follow) as executor:
        try:
            with _interrupts_held_back():  # before ``_follow``, they would meet an import
                for _ in range(number):
                    executor.submit(os.getpid)
            yield _Crew(executor, 2 * number)
        finally:
            executor.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Also from processes that are started now, for good."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
