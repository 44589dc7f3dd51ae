"""The work of an actor: bundles of names -> outcomes, with the pipeline of ``lpnsr upscale``."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lpnsr.apps.files.plan import Naming, result_name
from lpnsr.apps.ray.listing import Entry
from lpnsr.apps.ray.places import Place
from lpnsr.errors import ConfigError, LicenceError, LpnsrWarning
from lpnsr.imaging import PhotoRows
from lpnsr.system.atomic import remove_leftovers
from lpnsr.upscaling.batch import BatchSettings, FileOutcome, Observer, Pipeline, Skipped, Task, exists_already

MOST_DEATHS = 2
"""Number of workers that may die of one image, as the only one at hand, before it is given up."""
_REMEMBERED = 10_000


@dataclass(frozen=True)
class ActorSettings:
    """Settings of all actors. places: of the inputs. scratch: a folder for copies of remote files, where it exists."""

    settings: BatchSettings
    naming: Naming
    places: list[Place]
    output: Place
    threads: int
    scratch: str


def target_of(entry: Entry, naming: Naming) -> str:
    """The name of an entry's result below the output folder."""
    return result_name(Path(entry.name), naming).as_posix()


class Actor:
    """Callable for ``map_batches``; ``tracker`` is the handle of a ``BundleTracker``."""

    def __init__(self, settings: ActorSettings, tracker: Any) -> None:
        os.environ["OMP_NUM_THREADS"] = str(settings.threads)  # before torch, or another runtime, starts its threads
        import torch

        torch.set_num_threads(settings.threads)
        self._debug = settings.settings.debug
        self._tracker = tracker
        self._work = _PlacesPipeline(settings)
        self._warnings: list[str] = []
        warnings.simplefilter("always", LpnsrWarning)
        warnings.showwarning = self._warn  # type: ignore[assignment]

    def __call__(self, batch: Any) -> dict[str, list[Any]]:
        """A table of ``number`` and pickled ``entries`` -> the numbers and the pickled rows of the manifest."""
        numbers = batch["number"].to_pylist()
        rows = [
            self._bundle(number, pickle.loads(entries))
            for number, entries in zip(numbers, batch["entries"].to_pylist(), strict=True)
        ]
        return {"number": numbers, "rows": [pickle.dumps(each) for each in rows]}

    def _bundle(self, number: int, entries: list[Entry]) -> list[dict[str, Any]]:
        import ray

        bundle = ray.get(self._tracker.begin.remote(number))
        rows = bundle.rows
        left = [index for index in range(len(entries)) if index not in rows]
        again = bundle.attempts > 1
        self._work.begin(again)
        for group in [[index] for index in left] if again else [left]:
            first = group[0] if group else 0
            if again:
                if bundle.begun.get(first, 0) >= MOST_DEATHS:
                    rows[first] = self._work.given_up(entries[first]) | {"attempt": bundle.attempts}
                    continue
                ray.get(self._tracker.alone.remote(number, first))
            try:
                for index, row in zip(group, self._work.rows([entries[index] for index in group]), strict=True):
                    rows[index] = row | {"attempt": bundle.attempts, "warnings": self._warnings[:]}
                    self._warnings.clear()
                    ray.get(self._tracker.finished.remote(number, index, rows[index]))
            except Exception as error:  # it concerns every image
                text = traceback.format_exc() if self._debug else str(error)
                return [{"fatal": text, "asked": isinstance(error, ConfigError | LicenceError)}]
        return [rows[index] for index in range(len(entries))]

    def _warn(self, message: Warning | str, category: type[Warning], *_place: Any) -> None:
        if issubclass(category, LpnsrWarning):
            self._warnings.append(str(message))


@dataclass
class _Item:
    """A task, what it is called, and what has been measured of it."""

    entry: Entry
    place: Place
    target: str  # below the output folder
    facts: dict[str, Any]


class _PlacesPipeline(Observer):
    """A pipeline from places to places; remote files lie in a temporary folder meanwhile.

    It observes its own pipeline, and prints nothing: the driver reports the outcomes.
    """

    def __init__(self, settings: ActorSettings) -> None:
        self._settings = settings
        self._pipeline = Pipeline(settings.settings, self)
        self._items: dict[Task, _Item] = {}
        self._cleaned: set[Path] = set()
        folder = settings.scratch if Path(settings.scratch).is_dir() else None
        self._scratch = tempfile.TemporaryDirectory(prefix="worker-", dir=folder)
        self._copies = 0

    def begin(self, again: bool) -> None:
        """A bundle begins. again: a worker died of it, and results that are there are this run's own."""
        usual = self._settings.settings
        self._pipeline.settings = replace(usual, overwrite=True, skip_existing=False) if again else usual
        if again:
            self._cleaned.clear()  # of what the dead one left

    def rows(self, entries: list[Entry]) -> Iterator[dict[str, Any]]:
        """The manifest's rows of ``entries``, in their order."""
        tasks = [self._task(entry) for entry in entries]
        for task, outcome in zip(tasks, self._pipeline.outcomes(tasks), strict=True):
            yield self._row(task, outcome)

    def given_up(self, entry: Entry) -> dict[str, Any]:
        """The row of an image that no worker survives."""
        task = self._task(entry)
        name = self._items[task].place.name(entry.name)
        outcome = FileOutcome(
            str(task.source),
            str(task.target),
            "failed",
            f"{name}: the worker's process was killed each time that it worked on this "
            f"image, {MOST_DEATHS} times; perhaps it needs more memory than there is: try --memory",
        )
        return self._row(task, outcome) | {"died": True}

    def _task(self, entry: Entry) -> Task:
        place, target = self._settings.places[entry.place], target_of(entry, self._settings.naming)
        self._copies += 1
        beside = Path(self._scratch.name) / f"{self._copies}"
        source = beside.with_suffix(Path(entry.name).suffix) if place.local is None else place.local / entry.name
        output = self._settings.output.local
        task = Task(
            source, beside.with_name(f"{beside.name}_sr{Path(target).suffix}") if output is None else output / target
        )
        self._items[task] = _Item(entry, place, target, {})
        if output is not None:
            self._clean(task.target.parent)
        return task

    def _clean(self, folder: Path) -> None:
        if folder not in self._cleaned:
            if len(self._cleaned) >= _REMEMBERED:
                self._cleaned.clear()
            self._cleaned.add(folder)
            remove_leftovers(folder)

    def reading(self, task: Task, settings: BatchSettings) -> None:
        """Fetch a remote image, unless its result is there."""
        item, output = self._items[task], self._settings.output
        if output.local is None and not settings.overwrite and output.exists(item.target):
            if settings.skip_existing:
                raise Skipped
            raise exists_already(output.name(item.target))
        if item.place.local is None:
            item.place.fetch(item.entry.name, task.source)
        with suppress(OSError, ValueError):
            item.facts["input_bytes"] = task.source.stat().st_size

    def opened(self, task: Task, rows: PhotoRows) -> None:
        """Note the size of the image."""
        self._items[task].facts |= {"input_width": rows.width, "input_height": rows.height}

    def written(self, task: Task) -> None:
        """Put the result where it belongs."""
        item = self._items[task]
        item.facts["output_bytes"] = task.target.stat().st_size
        if self._settings.output.local is None:
            self._settings.output.put(task.target, item.target)

    def _row(self, task: Task, outcome: FileOutcome) -> dict[str, Any]:
        item = self._items.pop(task)
        source, target = item.place.name(item.entry.name), self._settings.output.name(item.target)
        error = outcome.error
        for path, name, place in ((task.source, source, item.place), (task.target, target, self._settings.output)):
            if place.local is None:
                error = error and error.replace(str(path), name)
                path.unlink(missing_ok=True)
        done = outcome.status == "done"
        return item.facts | {
            "input": source,
            "output": target,
            "status": outcome.status,
            "error": error,
            "width": outcome.width if done else None,
            "height": outcome.height if done else None,
            "seconds": outcome.seconds,
            "finished": int(time.time() * 1000),
            "worker": f"{socket.gethostname()}:{os.getpid()}",
        }
