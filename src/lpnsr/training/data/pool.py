"""Making a pool of degraded pairs: in processes, for as long as there is time, and on from where a call before ended.

pool/making.jsonl             while it is made: what of, then for each job how many crops, or why there are none
pool/{hr,lr,kind}.npy.part    the crops of those jobs
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from lpnsr.degradation import DRAWING_ORDER
from lpnsr.errors import TrainingError
from lpnsr.system.atomic import write_bytes
from lpnsr.system.hashes import file_sha256
from lpnsr.system.progress import Bar
from lpnsr.training.data.crew import Crew, make_crew
from lpnsr.training.data.crops import Pixels, crops_of
from lpnsr.training.data.pairs import MANIFEST, damaged, is_whole, read_manifest
from lpnsr.training.data.recipe import DataRecipe

_AT_A_TIME = 64  # crops of one job, of which a call that is to end waits for two or three in each process
_ORDER = 3  # of the jobs, in which the journal tells of them
_UNREADABLE = "unreadable"
Stop = Callable[[], bool]
_Job = tuple[int, int, tuple[int, ...]]  # a photograph's number, how many crops, the seed
log = logging.getLogger(__name__)


def never() -> bool:
    """Nobody wants the call to end."""
    return False


def pool_bytes(recipe: DataRecipe) -> int:
    """Size of the pairs on the disk."""
    return recipe.pool * (3 * (recipe.crop**2 + (recipe.crop // 4) ** 2) + 1)


def prepare_pool(
    images: Sequence[Path], recipe: DataRecipe, seed: int, folder: Path, workers: int = 2, stop: Stop = never
) -> None:
    """Make the pool in ``folder``, or see that the one there was made of the same files by the same degradation.

    Where ``stop`` ends it before it is whole, the next call goes on. Raises TrainingError if it was made of something
    else, or if no photograph is fit for training.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with make_crew(workers) as crew:
            digests = _digests(crew, images, never if is_whole(folder) else stop)
            if digests is None:
                return
            made_of = _made_of(recipe, seed, digests)
            if not is_whole(folder):
                _Making(images, made_of, recipe, folder, crew).run(stop)
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


def _check_same(made: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    if made == now:
        return
    keys = [key for key in now if key != "data" and made.get(key) != now[key]]
    keys += [key for key in now["data"] if made["data"].get(key) != now["data"][key]]
    if "sha256" in keys:
        same = sorted(made["sha256"]) == sorted(now["sha256"])
        what = "of these photographs under other names" if same else "of other photographs"
    elif "drawing_order" in keys:
        what = "by another version of the degradation"
    else:
        what = f"by another recipe ({', '.join(dict.fromkeys(keys))})"
    raise TrainingError(f"{folder} was made {what}: choose another --out, or delete it")


class _Rows:
    """One side of the pairs, in a NumPy file that grows: its header leaves room for the number of rows."""

    def __init__(self, folder: Path, name: str, *shape: int) -> None:
        self.path, self.part = folder / f"{name}.npy", folder / f"{name}.npy.part"
        self.shape = shape

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
        return len(self._header(rows)) + rows * math.prod(self.shape)

    def _header(self, rows: int) -> bytes:
        header = io.BytesIO()
        shape = (rows, *self.shape)
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        return header.getvalue()


class _Making:
    """Jobs in a fixed order, whatever the number of processes, whose pairs are appended to two files."""

    def __init__(
        self, images: Sequence[Path], made_of: dict[str, Any], recipe: DataRecipe, folder: Path, crew: Crew
    ) -> None:
        self.images, self.made_of, self.recipe, self.folder, self.crew = images, made_of, recipe, folder, crew
        self.sha256, self.seed = made_of["sha256"], made_of["seed"]
        self.passed_over: dict[int, str] = {i: f"the same as {images[j]}" for i, j in _copies(self.sha256).items()}
        self.held: dict[int, tuple[Pixels, ...]] = {}
        self.dealt: dict[int, int] = {}
        self.jobs: list[_Job] = []
        crop = recipe.crop
        self.sides = (
            _Rows(folder, "hr", crop, crop, 3),
            _Rows(folder, "lr", crop // 4, crop // 4, 3),
            _Rows(folder, "kind"),
        )
        self.journal = folder / "making.jsonl"

    def run(self, stop: Stop) -> None:
        """To the end, or until ``stop``."""
        self._hold_back()
        done = self._begin()
        while self._deal(done):
            if not self._go_on(done, stop):
                return
        self._finish(done)

    def _hold_back(self) -> None:
        """Keep from training the first by their hashes that can be read."""
        order = sorted(range(len(self.images)), key=lambda i: self.sha256[i])
        order = [i for i in order if i not in self.passed_over]
        wanted = _held(self.recipe, len(order))
        each = max(1, self.recipe.validation // max(1, wanted))
        calls = ((self.images[i], each, self.recipe, (self.seed, i)) for i in order if len(self.held) < wanted)
        for i, crops in zip(order, self.crew.in_order(crops_of, calls), strict=False):
            if len(self.held) == wanted:
                break  # what is ahead depends on the number of processes
            if isinstance(crops, str):
                self._still_there(i)
                self.passed_over[i] = crops
            else:
                self.held[i] = crops

    def _deal(self, done: Sequence[int | str]) -> bool:
        """See that there are jobs to do while crops are missing: one round of all photographs, then others in the
        place of what could not be had, of those that have not failed. False if there are none."""
        while len(done) >= len(self.jobs):
            outcomes = done[: len(self.jobs)]
            failed = {i for (i, _, _), outcome in zip(self.jobs, outcomes, strict=True) if isinstance(outcome, str)}
            fit = [i for i in range(len(self.images)) if not (i in self.held or i in self.passed_over or i in failed)]
            shares = _shares(self.recipe.pool - _rows(outcomes), fit)
            if not shares:
                return False
            for i, count in shares.items():
                begin = self.dealt.get(i, 0)
                for first in range(begin, begin + count, _AT_A_TIME):
                    seed = (self.seed, i, *([first] if first else []))
                    self.jobs.append((i, min(_AT_A_TIME, begin + count - first), seed))
                self.dealt[i] = begin + count
        return True

    def _go_on(self, done: list[int | str], stop: Stop) -> bool:
        """Append what the jobs give that are not done; False if ``stop`` was sooner."""
        tenth = max(1, len(self.jobs) // 10)
        with Bar("degrading", len(self.jobs), len(done)) as bar:
            for outcome in self._append(self.jobs[len(done) :]):
                done.append(outcome)
                bar.advance(len(done))
                ended = len(done) < len(self.jobs) and stop()
                if ended or (len(done) % tenth == 0 and not bar.shown):
                    log.info("%d of %d crops are degraded", _rows(done), self.recipe.pool)
                if ended:
                    return False
        return True

    def _begin(self) -> list[int | str]:
        """The outcomes of the jobs that are done: the number of crops, or why there are none."""
        log.info(
            "degrading %d crops of %d photographs; %s kept from training for scores and sample grids",
            self.recipe.pool,
            len(self.images) - len(self.held) - len(self.passed_over),
            f"{len(self.held)} more are" if self.held else "none are",
        )
        done = self._journalled()
        if not all(side.has(_rows(done)) for side in self.sides):
            done = []
        if done:
            log.info("%d of them are there", _rows(done))
        for side in self.sides:
            side.cut(_rows(done))
        lines = "".join(json.dumps(line) + "\n" for line in ([_ORDER, self.made_of], *done))
        write_bytes(self.journal, lines.encode())
        return done

    def _journalled(self) -> list[int | str]:
        if not self.journal.exists():
            return []
        whole, _, _ = self.journal.read_bytes().rpartition(b"\n")  # a kill may have left a piece of a line
        try:
            begun, *done = [json.loads(line) for line in whole.splitlines()] or [[_ORDER, self.made_of]]
        except ValueError as error:
            raise damaged(self.journal, error) from None
        if not isinstance(begun, list) or begun[0] != _ORDER:
            log.info("another version has begun it: it is made anew")
            return []
        if _rows(done):
            _check_same(begun[1], self.made_of, self.folder)
        return done if begun[1] == self.made_of else []

    def _append(self, jobs: Sequence[_Job]) -> Iterator[int | str]:
        paths = [self.journal, *(side.part for side in self.sides)]
        calls = ((self.images[i], count, self.recipe, seed) for i, count, seed in jobs)
        with ExitStack() as stack:
            journal, *files = [stack.enter_context(path.open("ab")) for path in paths]
            for (i, _, _), crops in zip(jobs, self.crew.in_order(crops_of, calls), strict=True):
                outcome = crops if isinstance(crops, str) else len(crops[0])
                if isinstance(crops, str):
                    self._still_there(i)
                else:
                    for file, pixels in zip(files, crops, strict=True):
                        file.write(pixels.tobytes())
                        file.flush()
                journal.write(f"{json.dumps(outcome)}\n".encode())
                journal.flush()
                yield outcome

    def _still_there(self, i: int) -> None:
        """Raise TrainingError if a photograph has gone since its digest was taken, with the disk that it was on."""
        if self.sha256[i] != _UNREADABLE and not self.images[i].exists():
            raise TrainingError(f"{self.images[i]} has gone meanwhile; what is done is kept. Put it back, and go on")

    def _finish(self, done: list[int | str]) -> None:
        crops = {i: len(pairs[0]) for i, pairs in self.held.items()}
        for (i, _, _), outcome in zip(self.jobs, done, strict=True):
            if isinstance(outcome, str):
                self.passed_over[i] = outcome
            else:
                crops[i] = crops.get(i, 0) + outcome
        for i in sorted(self.passed_over):
            log.warning("%s: passed over, %s", self.images[i], self.passed_over[i])
        if not _rows(done):
            raise TrainingError(f"none of the {len(self.images)} photographs can be used: see the reasons above")
        if _rows(done) < self.recipe.pool:
            log.warning("the pool has %d crops instead of %d", _rows(done), self.recipe.pool)
        held = [self.held[i] for i in sorted(self.held)]
        for side, *blocks in zip(self.sides, *held, strict=True):
            with side.part.open("ab") as file:
                file.writelines(block.tobytes() for block in blocks)
            side.finish(_rows(done) + sum(map(len, blocks)))
        told = {"made_of": self.made_of, "images": [self._entry(i, crops) for i in sorted({*crops, *self.passed_over})]}
        write_bytes(self.folder / MANIFEST, json.dumps(told, indent=1).encode())  # last: it says that the pool is whole
        self.journal.unlink()

    def _entry(self, i: int, crops: Mapping[int, int]) -> dict[str, Any]:
        """Return the manifest's entry of a photograph."""
        entry: dict[str, Any] = {"file": str(self.images[i]), "sha256": self.sha256[i]}
        if i in crops:
            entry |= {"crops": crops[i], "use": "validation" if i in self.held else "training"}
        return entry | ({"passed_over": self.passed_over[i]} if i in self.passed_over else {})


def _copies(sha256: Sequence[str]) -> dict[int, int]:
    """Of photographs that are there several times, each but the first, with the first."""
    first: dict[str, int] = {}
    found = {i: first.setdefault(digest, i) for i, digest in enumerate(sha256) if digest != _UNREADABLE}
    return {i: j for i, j in found.items() if i != j}


def _held(recipe: DataRecipe, photographs: int) -> int:
    """Number of photographs that are kept from training."""
    return photographs // recipe.held_out if recipe.validation else 0


def _rows(outcomes: Sequence[int | str]) -> int:
    return sum(outcome for outcome in outcomes if not isinstance(outcome, str))


def _shares(total: int, indices: Sequence[int]) -> dict[int, int]:
    """``total`` crops dealt out evenly."""
    counts = np.bincount(np.arange(total if indices else 0) % max(1, len(indices)), minlength=len(indices))
    return {index: int(n) for index, n in zip(indices, counts, strict=True) if n}


def _digests(crew: Crew, images: Sequence[Path], stop: Stop) -> list[str] | None:
    """SHA-256 of the files; None if ``stop`` was sooner."""
    digests: list[str] = []
    for digest in crew.in_order(_digest, ((path,) for path in images)):
        digests.append(digest)
        if len(digests) < len(images) and stop():
            log.info(
                "ended while the photographs were looked at, %d of %d: the next call begins with that again",
                len(digests),
                len(images),
            )
            return None
    return digests


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return _UNREADABLE  # whoever reads it for its crops says why


def _made_of(recipe: DataRecipe, seed: int, digests: Sequence[str]) -> dict[str, Any]:
    """All that a pool depends on."""
    presets = {name: recipe.preset(name).model_dump(mode="json") for name in recipe.degradations}
    drawn: dict[str, Any] = {"drawing_order": DRAWING_ORDER, "degradations": presets}
    if recipe.pool > _AT_A_TIME * (len(digests) - _held(recipe, len(digests))):
        drawn["crops_of_a_job"] = _AT_A_TIME
    return {"data": recipe.model_dump(mode="json", exclude={"teacher"}), **drawn, "seed": seed, "sha256": list(digests)}
