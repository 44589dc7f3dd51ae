"""``lpnsr upscale --engine ray`` from its arguments to its exit code."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import secrets
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from lpnsr import __version__
from lpnsr.apps.files.plan import Naming, check_suffix, nothing_found, result_name
from lpnsr.apps.files.report import Report
from lpnsr.apps.ray import prepare
from lpnsr.apps.ray.listing import Entry, Listing, bundles
from lpnsr.apps.ray.manifest import Manifest
from lpnsr.apps.ray.places import Place, is_url, on_disk
from lpnsr.apps.ray.worker import ActorSettings, target_of
from lpnsr.errors import ConfigError, LpnsrError, LpnsrWarning
from lpnsr.imaging import EXTENSIONS, max_pixels_allowed
from lpnsr.system.atomic import remove_leftovers
from lpnsr.system.memory import parse_memory
from lpnsr.upscaling.batch import BatchSettings, FileOutcome, exists_already

_BUNDLE = 16  # images that a worker is given at a time
_BUNDLES = (
    10_000  # there are no more than that: Ray keeps 5 KB of statistics of each, so larger batches have larger ones
)
_ASKED_AT_ONCE = 256  # results of which it is asked whether they are there
_MOST_DEATHS = 10  # images in a row that workers die of
_SCRATCH = "LPNSR_SCRATCH"


@dataclass(frozen=True)
class RayOptions:
    """Options of ``--engine ray`` alone. None: as found."""

    workers: int | None = None
    threads: int | None = None
    manifest: str | None = None
    address: str | None = None


def upscale_big(
    inputs: list[str],
    naming: Naming,
    settings: BatchSettings,
    ray: RayOptions,
    *,
    recursive: bool = False,
    as_json: bool = False,
    quiet: bool = False,
) -> int:
    """Upscale all images; return the number of failures. Raises what concerns all of them."""
    max_pixels_allowed(settings.file.max_pixels)
    output = Place(naming.output)
    _check_names(inputs, naming, output)
    digest, settings = _checked_model(settings)
    identity = time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + secrets.token_hex(3)
    options = settings.options.model_dump(exclude={"seed"}, exclude_none=True)
    options |= {"dtype": settings.model.dtype, "runtime": settings.model.runtime, "quality": settings.file.quality}
    manifest = Manifest(
        Place(ray.manifest) if ray.manifest else output.below("manifest.parquet"),
        identity,
        {
            "seed": settings.options.seed,
            "options": json.dumps(options),
            "model": settings.model.model,
            "model_digest": digest,
            "version": __version__,
        },
    )
    with (
        _scratch() as scratch,
        Report(0, as_json=as_json, quiet=quiet) as report,
    ):
        batch = _Batch(naming, output, settings, report, manifest, Path(scratch))
        try:
            count = batch.find(inputs, recursive)
            if count:
                batch.work(count, ray)
        finally:
            manifest.flush()
        return report.failed


class _Batch:
    def __init__(
        self, naming: Naming, output: Place, settings: BatchSettings, report: Report, manifest: Manifest, scratch: Path
    ) -> None:
        self.naming = naming
        self.output = output
        self.settings = settings
        self.report = report
        self.manifest = manifest
        self.scratch = scratch
        self.listing = scratch / "listing"
        self.places: list[Place] = []
        self._numbers: dict[str, int] = {}
        self._among_results: dict[int, str | None] = {}  # by the number of a place
        self._deaths = 0

    def find(self, inputs: list[str], recursive: bool) -> int:
        """Write the listing; report images that are not to be done. Returns the number of those that are.

        Raises ConfigError where ``plan`` does, before anything is made.
        """
        listing = Listing(self.listing)
        empty = []
        for text in inputs:
            before = listing.found
            for entry in self._expand(text, recursive):
                self._find(listing, entry)
            empty += [text] if listing.found == before else []
        if not listing.found:
            raise nothing_found(inputs, recursive)
        for text in empty:  # it is reported as a missing file, and the others go on
            self._find(listing, self._named(text))
        if pair := listing.replaced():
            raise self._overwritten(target_of(pair[0], self.naming), pair[1])
        self.report.expect(listing.found)
        for some in listing.all(_ASKED_AT_ONCE):
            for entry, there in zip(some, self._there(some), strict=True):
                if there:
                    self._passed_over(entry)
                else:
                    listing.add(entry)
        listing.close()
        return listing.todo

    def work(self, count: int, options: RayOptions) -> None:
        """Do what is in the listing."""
        debug = self.settings.debug
        address = prepare(options.address, debug=debug)
        from lpnsr.apps.ray.cluster import cluster, cpus_for, open_tracker, outcomes, pool, unclaimed

        cpus = cpus_for(options.workers, options.threads, _cores())
        bundle, settled, ahead, whole = 1, 0, 0, False
        try:
            with cluster(address, cpus, debug=debug) as own:
                chosen = pool(self.settings.model, options.workers, options.threads, own=own)
                ahead = chosen.ahead
                bundle = max(1, min(_BUNDLE, count // (4 * chosen.workers)), -(-count // _BUNDLES))
                model = self.settings.model.model_copy(update={"device": chosen.device})
                settings = replace(self.settings, model=model)
                of_actors = ActorSettings(
                    settings, self.naming, self.places, self.output, chosen.threads, str(self.scratch)
                )
                self.manifest.common |= {"threads": chosen.threads, "device": chosen.device}
                tracker = open_tracker()
                left: Iterator[dict[str, Any]] = iter(())
                try:
                    for rows in outcomes(self.listing, bundle, of_actors, chosen, tracker):
                        left = iter(rows)
                        for row in left:
                            self._settle(row)
                        settled += 1
                except BaseException:
                    for row in (*left, *unclaimed(tracker)):
                        with suppress(LpnsrError):  # the first is told
                            self._settle(row)
                    raise
                whole = True
        finally:
            if not whole and self.output.local is not None:
                near = islice(bundles(self.listing, bundle), max(0, settled - ahead), settled + 2 * ahead)
                for folder in {self._target(entry).parent for some in near for entry in some}:
                    remove_leftovers(folder)

    def _expand(self, text: str, recursive: bool) -> Iterator[Entry]:
        """The images that an input means."""
        place = Place(text)
        if place.is_dir():
            yield from self._folder(place, recursive)
        elif place.local is None or os.path.lexists(place.local) or not glob.has_magic(text):
            yield self._named(text)
        else:
            yield from self._pattern(on_disk(text), recursive)

    def _pattern(self, pattern: str, recursive: bool) -> Iterator[Entry]:
        last = -1
        for match in glob.iglob(pattern, recursive=True):  # noqa: PTH207 (pathlib's lists folders whole)
            found = str(Path(match).absolute())
            if not Place(found).same("", self.output):
                for entry in self._expand(found, recursive):
                    if entry.place != last and self.places[entry.place].same("", self.output):
                        raise self._inside(self.places[entry.place])
                    last = entry.place
                    yield entry

    def _inside(self, place: Place) -> ConfigError:
        return ConfigError(
            f"-o {self.output.name()}: with --engine ray the results need a folder outside of the input "
            f"{place.name()}, or one below it"
        )

    def _folder(self, place: Place, recursive: bool) -> Iterator[Entry]:
        if place.within(self.output) is not None:
            raise self._inside(place)
        number = self._number(place)
        for name in place.images(recursive=recursive, leave_out=self.output):
            yield Entry(number, name)

    def _named(self, text: str) -> Entry:
        """The entry of an image that is given by its own name."""
        first, *chain = text.rstrip("/").split("::") if is_url(text) else [str(Place(text).local)]
        folder, slash, name = first.rpartition("/" if is_url(text) else os.sep)
        folder += slash if folder.endswith(":/") or not folder else ""
        return Entry(self._number(Place("::".join([folder, *chain]))), name)

    def _number(self, place: Place) -> int:
        number = self._numbers.setdefault(place.text, len(self.places))
        if number == len(self.places):
            self.places.append(place)
        return number

    def _find(self, listing: Listing, entry: Entry) -> None:
        target, place = target_of(entry, self.naming), self.places[entry.place]
        if place.same(entry.name, self.output, target):
            raise self._overwritten(target, entry)
        if entry.place not in self._among_results:
            self._among_results[entry.place] = place.within(self.output)
        among = self._among_results[entry.place]
        other = listing.find(entry, target, None if among is None else f"{among}/{entry.name}".lstrip("/"))
        if other is not None:
            names = [self.places[each.place].name(each.name) for each in (other, entry)]
            if os.path.realpath(names[0]) != os.path.realpath(names[1]):
                raise ConfigError(
                    f"{names[0]} and {names[1]} would both be written to {self.output.name(target)}; rename one of "
                    "them, or use separate output folders"
                )

    def _overwritten(self, target: str, entry: Entry) -> ConfigError:
        replaced = self.places[entry.place].name(entry.name)
        hint = "choose another folder or a --suffix"
        return ConfigError(f"{self.output.name(target)} would overwrite the input {replaced}; {hint}")

    def _target(self, entry: Entry) -> Path:
        return Path(self.output.name(target_of(entry, self.naming)))

    def _there(self, entries: list[Entry]) -> Iterable[bool]:
        """Tell for each entry whether its result is there and stays."""
        if self.settings.overwrite:
            return [False] * len(entries)
        targets = [target_of(entry, self.naming) for entry in entries]
        if self.output.local is not None:
            return map(self.output.exists, targets)
        with ThreadPoolExecutor(32) as threads:
            return list(threads.map(self.output.exists, targets))

    def _passed_over(self, entry: Entry) -> None:
        target = self.output.name(target_of(entry, self.naming))
        row: dict[str, Any] = {"input": self.places[entry.place].name(entry.name), "output": target, "seconds": 0.0}
        row |= {"status": "skipped", "finished": int(time.time() * 1000)}
        if not self.settings.skip_existing:
            row |= {"status": "failed", "error": str(exists_already(target))}
        self._settle(row)

    def _settle(self, row: dict[str, Any]) -> None:
        """Report an outcome and add it to the manifest. Raises what ends the batch."""
        if "fatal" in row:
            raise (ConfigError if row["asked"] else LpnsrError)(row["fatal"])
        self.manifest.add(row)
        for text in row.get("warnings", ()):
            warnings.warn(text, LpnsrWarning, stacklevel=1)
        height, width = row.get("height"), row.get("width")
        self.report.finished(
            FileOutcome(row["input"], row["output"], row["status"], row.get("error"), row["seconds"], height, width)
        )
        self._deaths = self._deaths + 1 if row.get("died") else 0
        if self._deaths >= _MOST_DEATHS:
            raise LpnsrError(
                f"the workers were killed at each of the last {_MOST_DEATHS} images: memory may be short; try fewer "
                "--workers, or --memory"
            )


def _check_names(inputs: list[str], naming: Naming, output: Place) -> None:
    """Raise ConfigError for what this engine cannot do."""
    check_suffix(naming)
    result_name(Path("x.png"), naming)
    if naming.compare:
        raise ConfigError("--compare is not for --engine ray; make the pictures of some images without it")
    for text in inputs:
        if is_url(text) and set("*[") & set(text):
            raise ConfigError(f"{text}: patterns are for names on this machine; give the folder's URL, and -r")
    output.check_writable()
    name = output.text.partition("::")[0]
    if Path(name).suffix.lower() in EXTENSIONS and not name.endswith("/") and not output.is_dir():
        raise ConfigError(f"-o {output.text} names a file; --engine ray writes into a folder")
    if output.local is not None and os.path.lexists(output.local) and not output.is_dir():
        raise ConfigError(f"-o {output.text} is a file; --engine ray writes into a folder")


def _checked_model(settings: BatchSettings) -> tuple[str, BatchSettings]:
    """The digest of the model, and the settings by names that hold anywhere. Raises before anything is begun."""
    from lpnsr.checkpoints import resolve, resolve_file, spec_of
    from lpnsr.checkpoints.locate import NAMES
    from lpnsr.runtimes import choose, placed
    from lpnsr.runtimes.manifest import NAME, is_exported, model_digest
    from lpnsr.system.hashes import file_sha256

    given = settings.model
    if given.device not in ("auto", "cpu", "cuda", "mps"):
        raise ConfigError(
            f"--device {given.device}: with --engine ray choose auto, cpu, cuda or mps; Ray gives out GPUs"
        )
    if given.memory is not None:
        parse_memory(given.memory)
    folder = resolve(given.model, revision=given.revision, cache_dir=given.cache_dir)
    if not is_exported(folder):
        settings.options.settled(spec_of(folder))
    runtime = choose(folder, given.runtime) if given.runtime != "auto" or is_exported(folder) else None
    if runtime:
        placed(runtime, given.device, given.dtype)
    if folder.is_file() or is_exported(folder):
        digest = file_sha256(folder if folder.is_file() else folder / NAME)
    else:
        digest = model_digest(folder)
    changes: dict[str, Any] = {"cache_dir": given.cache_dir and given.cache_dir.absolute()}
    if given.model not in NAMES and Path(given.model).exists():
        changes["model"] = str(folder.absolute())
    if given.start is not None:
        start = resolve_file(given.start, given.cache_dir).absolute()
        changes["start"] = str(start)
        digest = hashlib.sha256(f"{digest} {file_sha256(start)}".encode()).hexdigest()
    return digest, replace(settings, model=given.model_copy(update=changes))


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder. Raises ConfigError where the environment names none in which it can be made."""
    folder = os.environ.get(_SCRATCH) or None
    try:
        return tempfile.TemporaryDirectory(prefix="lpnsr-", dir=folder)
    except OSError as error:
        where = f"{_SCRATCH}={folder}" if folder else "the system's temporary folder"
        raise ConfigError(
            f"{where}: no folder can be made there ({error.strerror}); set {_SCRATCH} to one with room for the batch"
        ) from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
