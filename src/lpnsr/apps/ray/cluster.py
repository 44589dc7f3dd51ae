"""Connection to Ray, the listing as a data source, and the pool of actors."""

from __future__ import annotations

import logging
import os
import pickle
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody; read when ray is imported

import pyarrow as pa
import ray as typed_ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.util import scheduling_strategies

from lpnsr.apps.ray import LOCAL
from lpnsr.apps.ray.bundles import BundleTracker
from lpnsr.apps.ray.listing import bundles
from lpnsr.apps.ray.worker import Actor, ActorSettings
from lpnsr.errors import ConfigError, LpnsrError
from lpnsr.system.memory import available_memory
from lpnsr.upscaling.options import ModelOptions

ray: Any = typed_ray  # what it says of its types does not hold for actors

_STORE = 128 << 20  # bytes for what passes between processes: names and outcomes
_WORKER_MEMORY = 3 << 30  # a worker for lite and its usual tile
_THREADS = 4  # beyond, a second worker brings more
_POLL = 0.05
_PATIENCE = 10.0
_AHEAD = 64


@dataclass(frozen=True)
class Pool:
    """Workers, and what each takes. gpus: a fraction of one, or 0."""

    workers: int
    threads: int
    cpus: float
    gpus: float
    device: str

    @property
    def ahead(self) -> int:
        """Bundles that are under way at most."""
        return max(_AHEAD, 4 * self.workers)


@contextmanager
def cluster(address: str, cpus: int, *, debug: bool = False) -> Iterator[bool]:
    """Ray in this context, at an address that ``prepare`` returned. Processes of our own end with the context.

    Yields whether they are our own. Raises LpnsrError.
    """
    own = address == LOCAL
    folder = tempfile.mkdtemp(
        prefix="lpnsr-ray-", dir="/tmp" if Path("/tmp").is_dir() else None
    )  # sockets: short names
    options: dict[str, Any] = {"log_to_driver": debug, "logging_level": logging.INFO if debug else logging.ERROR}
    if own:
        options |= {"num_cpus": cpus, "object_store_memory": _STORE, "include_dashboard": False}
        options["_temp_dir"] = folder
    try:
        try:
            with _muted(Path(folder) / "ray.log", debug):
                ray.init(address=address, **options)
        except (Exception, SystemExit) as error:
            text = " ".join(str(error).split())
            raise LpnsrError(f"Ray cannot be started or reached ({address}): {text or type(error).__name__}") from None
        if not debug:
            for name in ("ray", "ray.data"):
                logging.getLogger(name).setLevel(logging.ERROR)
        with _terminable():
            yield own
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def pool(model: ModelOptions, workers: int | None, threads: int | None, *, own: bool) -> Pool:
    """Choose the number of workers and what each takes, for the model's device and runtime. Raises ConfigError."""
    there = ray.cluster_resources()
    gpus, cpus = int(there.get("GPU", 0)), max(1, int(there.get("CPU", 1)))
    device = model.device
    if device == "cuda" and not gpus:
        raise ConfigError("--device cuda: Ray finds no GPU here; give --device cpu, or none")
    if device in ("auto", "cuda") and gpus and model.runtime in ("auto", "torch"):
        count = workers or gpus
        fraction = 1.0 if count <= gpus else 1 / -(-count // gpus)
        return Pool(count, threads or max(1, min(_THREADS, cpus // count)), 1, fraction, "cuda")
    if device == "auto":
        device = _device_without_gpus()
    threads = _threads_each(workers, threads, cpus)
    fitting = max(1, cpus // threads)
    if own:
        fitting = max(1, min(fitting, available_memory("cpu") // _WORKER_MEMORY))
    most = max((node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"]), default=1)
    return Pool(workers or (fitting if device == "cpu" else 1), threads, min(threads, most), 0, device)


def cpus_for(workers: int | None, threads: int | None, cores: int) -> int:
    """The processors of a cluster of our own, for all workers to run at once."""
    return max(cores, (workers or 1) * _threads_each(workers, threads, cores))


def _threads_each(workers: int | None, threads: int | None, cpus: int) -> int:
    """The threads of a worker without a GPU: as given, as the environment says, or its part of the processors."""
    said = re.match(r"\s*(\d+)", os.environ.get("OMP_NUM_THREADS", ""))  # "4,2" is for nested loops
    return threads or int(said[1] if said else 0) or max(1, min(_THREADS, cpus // (workers or 1)))


def open_tracker() -> Any:
    """Start a ``BundleTracker`` on this node, and return its handle."""
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": _here()}
    return ray.remote(**options)(BundleTracker).remote()


def _here() -> Any:
    """No other node than this, without which there is no batch."""
    affinity: Any = scheduling_strategies.NodeAffinitySchedulingStrategy
    return affinity(ray.get_runtime_context().get_node_id(), soft=False)


def unclaimed(tracker: Any) -> list[dict[str, Any]]:
    """Return the rows that were finished, but not delivered by ``outcomes`` before it was stopped."""
    with suppress(Exception):  # at the end of everything nothing depends on it
        return list(ray.get(tracker.unclaimed.remote(), timeout=_PATIENCE))
    return []


def outcomes(
    listing: Path, bundle: int, settings: ActorSettings, pool: Pool, tracker: Any
) -> Iterator[list[dict[str, Any]]]:
    """The rows of each bundle of ``bundle`` names, as they are done, in any order."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # a bundle is a block, however small: blocks are what workers are given
    settled = listing.with_name("settled")
    names = Names(listing, bundle, settled, ahead=pool.ahead)
    data = ray.data.read_datasource(names, override_num_blocks=1, num_cpus=0, scheduling_strategy=_here()).map_batches(
        Actor,
        fn_constructor_args=(settings, tracker),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=pool.workers),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
    )
    count = 0
    try:
        for batch in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for number, rows in zip(batch["number"].to_pylist(), batch["rows"].to_pylist(), strict=True):
                tracker.forget.remote(number)
                yield pickle.loads(rows)
                count += 1
            _note(settled, count)
    except ray.exceptions.RayError as error:
        raise LpnsrError(f"Ray gave up: {' '.join(str(error).split())[-300:]}") from None


class Names(Datasource):  # type: ignore[misc]
    """Blocks of one row: the number of a bundle and its pickled entries.

    One task reads the listing, never more than ``ahead`` bundles beyond those that the file ``settled`` counts: what
    is under way is bounded, whatever Ray would hold. It gives the same bundles each time, so it can be repeated.
    """

    def __init__(self, listing: Path, bundle: int, settled: Path, ahead: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._given = (listing, bundle, settled, ahead)
        _note(settled, 0)

    def estimate_inmemory_data_size(self) -> int | None:
        """Unknown."""
        return None

    def get_read_tasks(self, parallelism: int, *_rest: Any, **_more: Any) -> list[ReadTask]:
        """One."""
        listing, bundle, settled, ahead = self._given

        def read() -> Iterator[pa.Table]:
            for number, entries in enumerate(bundles(listing, bundle)):
                while number - int(settled.read_bytes() or 0) >= ahead:
                    time.sleep(_POLL)
                yield pa.table({"number": [number], "entries": [pickle.dumps(entries)]})

        return [ReadTask(read, BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None))]


def _note(file: Path, count: int) -> None:
    beside = file.with_suffix(".new")
    beside.write_bytes(b"%d" % count)
    beside.replace(file)


def _device_without_gpus() -> str:
    """The device for ``auto`` where Ray knows of no GPU: a Mac may have one."""
    if sys.platform != "darwin":
        return "cpu"
    from lpnsr.system.devices import pick_device

    return pick_device("auto").type


@contextmanager
def _terminable() -> Iterator[None]:
    """A SIGTERM is a SystemExit in this context; Ray's own handler aborts the process, and nothing is put in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextmanager
def _muted(log: Path, debug: bool) -> Iterator[None]:
    """Send standard error of the processes that are started here to a file, so that they hold no pipe open."""
    if debug:
        yield
        return
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        with suppress(OSError):
            os.close(before)
