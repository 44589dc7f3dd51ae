"""LR images -> SR images in a folder, timed, for ``lpnsr evaluate --model``.

A result is used again if the version of lpnsr, the model, the LR file and the result are those that its record names.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from lpnsr import __version__, checkpoints, runtimes
from lpnsr.errors import ConfigError, InputError, LpnsrError, OutputError
from lpnsr.evaluation.enlarging import INTERPOLATIONS, START, load_network, network_flops, run_network
from lpnsr.evaluation.files import content_hash, unit_tensor
from lpnsr.evaluation.pairing import Problem
from lpnsr.imaging import Photo, name_key, read, resize, write
from lpnsr.networks import chain_flops
from lpnsr.system.atomic import remove_leftovers, write_bytes
from lpnsr.system.machine import machine_of
from lpnsr.upscaling.upscaler import Upscaler, pick_device

FACTOR = 4
"""Scale of every protocol."""

_RECORDS = "timings.json"
_WARM_UP = 16  # side of the patch that is upscaled first, untimed


@dataclass(frozen=True)
class Timing:
    """Time of a model. seconds: the median of one image, without reading and writing. mflop: per LR pixel."""

    seconds: float
    count: int
    protocol: str
    mflop: float | None = None


def upscale_folder(
    model: str, images: Sequence[Path], out: Path, *, device: str = "auto", done: Callable[[], None] | None = None
) -> tuple[list[Path], Timing | None, list[Problem]]:
    """Upscale all ``images`` 4x into ``out``, as PNG of the same stems, with ``model`` at its default settings.

    model: of lpnsr, by name or folder; ``bicubic`` or ``lanczos``; the file of a network that spandrel reads; or the
    pre-upsampler of a model alone, ``base:start``.
    Returns the results, which may not be all that is in ``out``. Files that cannot be upscaled become problems.
    Raises CheckpointError, ConfigError for the model, OutputError.
    """
    _check_names(images, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made: {error.strerror or error}") from None
    remove_leftovers(out)
    _claim(out)
    maker = _maker(model, device)
    records = _read_records(out / _RECORDS)
    made, times, problems, mflop = [], [], [], None
    for path in images:
        target = out / f"{path.stem}.png"
        try:
            made_from = f"lpnsr {__version__}, {maker.identity}, {content_hash(path)}"
            record = records.get(target.name)
            if not (record and record["from"] == made_from and _has_hash(target, record["sha256"])):
                photo = read(path)
                result, seconds = maker.make(photo)
                write(result, target)
                record = {"from": made_from, "sha256": content_hash(target), "seconds": seconds, "mflop": maker.mflop}
                records[target.name] = record
                write_bytes(out / _RECORDS, json.dumps(records, indent=1).encode())
            made.append(target)
            times.append(float(record["seconds"]))
            mflop = record["mflop"]
        except InputError as error:
            reason = str(error).removeprefix(f"{path}: ")
            problems.append(Problem(f"LR for {out.name}", path.name, reason, failed=True))
        if done:
            done()
    timing = Timing(statistics.median(times), len(times), maker.described, mflop) if times else None
    return made, timing, problems


def trained_with_lpips(model: str) -> bool:
    """Tell whether LPIPS on SqueezeNet was a loss in the training of a model."""
    if model in INTERPOLATIONS or _is_network(model):
        return False
    return checkpoints.read_spec(checkpoints.resolve(model)).trained_with_lpips


class _Maker(Protocol):
    """A way to make images. identity: all that decides them beside the input. mflop: per LR pixel, None if unknown."""

    identity: str
    described: str
    mflop: float | None

    def make(self, photo: Photo) -> tuple[Photo, float]:
        """Return the photo at 4x, and the seconds that took."""


def _maker(model: str, device: str) -> _Maker:
    if model in INTERPOLATIONS:
        return _Interpolation(model)
    return _Network(model, device) if _is_network(model) else _Model(model, device)


def _is_network(model: str) -> bool:
    return model.endswith(START) or checkpoints.resolve(model).is_file()


class _Interpolation:
    def __init__(self, name: str) -> None:
        self.mflop: float | None = None
        details = {"bicubic": "PyTorch, a = -0.5, antialiased", "lanczos": "Pillow, three lobes"}
        self.identity = self.described = f"{name} interpolation ({details[name]})"
        self._resample = INTERPOLATIONS[name]

    def make(self, photo: Photo) -> tuple[Photo, float]:
        started = time.perf_counter()
        size = (photo.height * FACTOR, photo.width * FACTOR)
        alpha = None if photo.alpha is None else resize(photo.alpha, size)
        return replace(photo, pixels=self._resample(photo.pixels, size), alpha=alpha), time.perf_counter() - started


class _Network:
    """A network that is run once, on the whole image, without colour fix."""

    def __init__(self, name: str, device: str) -> None:
        self._device = pick_device(device)
        self._net, digest = load_network(name.removesuffix(START), self._device)
        place = machine_of(self._device)
        self.identity = f"network {digest}, {place}"
        self.described = f"the network alone, whole images, on {place}; median of one image, files not counted"
        self.mflop: float | None = network_flops(self._net, self._device) / 1e6

    def make(self, photo: Photo) -> tuple[Photo, float]:
        lr = unit_tensor(photo)
        started = time.perf_counter()
        sr = run_network(self._net, lr, self._device)
        seconds = time.perf_counter() - started
        return Photo((sr * 255).round().byte().permute(1, 2, 0).numpy()), seconds


class _Model:
    """A model of lpnsr, loaded when the first image is made."""

    def __init__(self, name: str, device: str) -> None:
        self._name, self._device = name, device
        self._upscaler: Upscaler | None = None
        self.mflop: float | None = None
        place = machine_of(pick_device(device))
        self.identity = f"{_folder_hash(checkpoints.resolve(name))}, defaults, {place}"
        self.described = f"lpnsr at its defaults, seed 0, on {place}; median of one image, files not counted"

    def make(self, photo: Photo) -> tuple[Photo, float]:
        if self._upscaler is None:
            how = {}
            if pick_device(self._device).type == "cpu":  # where scores depend on neither processor nor installation
                exported = runtimes.is_exported(checkpoints.resolve(self._name))
                how = {"dtype": "float32", "runtime": "auto" if exported else "torch"}
            self._upscaler = Upscaler.from_pretrained(self._name, device=self._device, **how)
            flops = chain_flops({str(k): v for k, v in self._upscaler.parts.items()}, self._upscaler.spec.steps)
            self.mflop = None if flops is None else flops / 1e6
            patch = photo.pixels[:_WARM_UP, :_WARM_UP]
            self._upscaler.upscale_photo(Photo(patch))  # the first call is slower
        started = time.perf_counter()
        result = self._upscaler.upscale_photo(photo)  # back on the CPU: a GPU has finished
        return result, time.perf_counter() - started


def _folder_hash(folder: Path) -> str:
    """Hash all files of a model."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".json", ".safetensors")):
        digest.update(f"{path.relative_to(folder).as_posix()} {content_hash(path)}\n".encode())
    return digest.hexdigest()[:16]


def _has_hash(path: Path, expected: str) -> bool:
    with suppress(LpnsrError):
        return content_hash(path) == expected
    return False


def _claim(out: Path) -> None:
    """Mark the folder as one whose images may be replaced. Raises ConfigError if it holds somebody's files."""
    if (out / _RECORDS).exists():
        return
    if any(path.name[0] != "." for path in out.iterdir()):
        raise ConfigError(
            f"{out} has files that lpnsr evaluate did not make, and results would go there: choose another --out, or "
            "name the model otherwise, as NAME=..."
        )
    write_bytes(out / _RECORDS, b"{}")


def _read_records(path: Path) -> dict[str, dict[str, Any]]:
    with suppress(OSError, ValueError, AttributeError, TypeError):  # whatever is wrong with it, it is made anew
        records = json.loads(path.read_text(encoding="utf-8"))
        needed = {"from", "sha256", "seconds", "mflop"}
        return {name: record for name, record in records.items() if needed <= set(record)}
    return {}


def _check_names(images: Sequence[Path], out: Path) -> None:
    seen: dict[str, Path] = {}
    for path in images:
        earlier = seen.setdefault(name_key(out / f"{path.stem}.png"), path)
        if earlier != path:
            raise ConfigError(f"{earlier} and {path.name} would become one result: rename one")
