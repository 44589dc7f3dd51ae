"""Parts that compute in a runtime and otherwise behave like the networks that they were exported from."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, Self

import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor, nn

from lpnsr.checkpoints import ModelSpec, PartName, cache_folder, check_parts, read_spec
from lpnsr.checkpoints.folder import CONFIG, build_part, load_part
from lpnsr.checkpoints.spec import read_json
from lpnsr.errors import CheckpointError, ConfigError, LpnsrError, OutputError
from lpnsr.networks import network_classes
from lpnsr.runtimes import export
from lpnsr.runtimes.calls import calls_of
from lpnsr.runtimes.manifest import FORMAT, Manifest, is_exported, model_digest, read_manifest
from lpnsr.runtimes.sessions import (
    RUNTIMES,
    Place,
    RuntimeName,
    Session,
    open_session,
    runtime_version,
    unit,
    vulkan_gpu,
)
from lpnsr.system.devices import pick_device, pick_dtype

_BAND_PIXELS = 12288  # of the input: about 400 MB at the scale of the result


def choose(folder: Path, wanted: str, device: str = "auto", dtype: str = "auto") -> RuntimeName | None:
    """Choose the runtime for a model, None being PyTorch.

    ``auto`` is what it was exported for; on a CPU in float32, ncnn if it is installed and computes a part of the model;
    else PyTorch. Raises ConfigError for a runtime that is unknown or is not the folder's, and for that of a
    file.
    """
    if wanted not in ("auto", "torch", *RUNTIMES):
        raise ConfigError(f"runtime {wanted!r}: choose auto, torch, {', '.join(RUNTIMES[:-1])} or {RUNTIMES[-1]}")
    if not is_exported(folder):
        if folder.is_file():
            if wanted in RUNTIMES:
                raise ConfigError(f"runtime {wanted} is for model folders, and {folder} is a file; use torch")
            return None
        if wanted == "auto" and find_spec("ncnn") and _in_float32_on_cpu(device, dtype) and _has_ncnn_parts(folder):
            return "ncnn"
        return next((name for name in RUNTIMES if name == wanted), None)
    made_for = read_manifest(folder).runtime
    if wanted not in ("auto", made_for):
        raise ConfigError(
            f"{folder} is exported for {made_for}, not for {wanted}; give the model that it was made from"
        )
    return made_for


def _in_float32_on_cpu(device: str, dtype: str) -> bool:
    there = pick_device(device)
    return there.type == "cpu" and pick_dtype(dtype, there) == torch.float32


def _has_ncnn_parts(folder: Path) -> bool:
    configs = {name: read_json(folder / place / CONFIG) for name, place in read_spec(folder).parts.items()}
    return any(calls_of(name, network_classes(config)[1], "ncnn") for name, config in configs.items())


def placed(runtime: RuntimeName, device: str, dtype: str) -> tuple[Place, str, str]:
    """Return the place of the graphs, and device and precision of what stays with PyTorch.

    Raises ConfigError for a device or precision that the runtime does not have, MissingExtraError.
    """
    if runtime != "ncnn":
        if dtype not in ("auto", "float32"):
            raise ConfigError(f"dtype {dtype}: {runtime} computes in float32; use the runtime torch")
        return Place(unit=unit(runtime, device)), "cpu", "float32"
    if not re.fullmatch(r"auto|cpu|vulkan(:\d+)?", device):
        raise ConfigError(f"device {device!r}: with the runtime ncnn choose auto, cpu, vulkan or vulkan:1")
    gpu = vulkan_gpu(device)
    torch_dtype = pick_dtype(dtype, torch.device("cpu"))
    half = torch_dtype != torch.float32 if gpu is None else dtype != "float32"
    return Place(gpu, half), "cpu", str(torch_dtype).removeprefix("torch.")


def load(
    folder: Path, runtime: RuntimeName, cache_dir: Path | str | None = None, place: Place | None = None
) -> tuple[ModelSpec, dict[PartName, nn.Module]]:
    """Load specification and parts of an exported folder; or of a model, exported into the cache on first use.

    Raises MissingExtraError, CheckpointError, OutputError if the cache cannot be written.
    """
    place = place or Place()
    if not is_exported(folder):
        folder = cached_export(folder, runtime, cache_dir)
    manifest = read_manifest(folder)
    spec = read_spec(folder)
    nets = {name: _network(folder / place, name in manifest.kept) for name, place in spec.parts.items()}
    check_parts(nets, str(folder))
    return spec, {
        name: net if name in manifest.kept else _with_graphs(folder, name, net, manifest, place)
        for name, net in nets.items()
    }


def cached_export(folder: Path, runtime: RuntimeName, cache_dir: Path | str | None = None) -> Path:
    """Return the export of a model in the cache, made if it is not there, and anew if it is damaged.

    It belongs to the very weights, and to the versions of the runtime and of PyTorch.
    """
    versions = f"{runtime}-{runtime_version(runtime)}-torch-{torch.__version__}-{FORMAT}".replace(os.sep, "_")
    exports = cache_folder(cache_dir) / "exports"
    target = exports / f"{model_digest(folder)[:16]}-{versions}"
    try:
        exports.mkdir(parents=True, exist_ok=True)
        with FileLock(exports / ".lock"):  # of two processes, the second waits and finds it there
            if not _is_sound(target):
                for leftover in (target, *exports.glob(".*.part")):  # of a call that was killed
                    shutil.rmtree(leftover, ignore_errors=True)
                export.export_model(folder, target, runtime)
    except OSError as error:
        if isinstance(error, LpnsrError):
            raise
        raise OutputError(f"the graphs cannot be kept in {exports}: {error}; choose another --cache-dir") from None
    return target


def _is_sound(target: Path) -> bool:
    try:
        return bool(is_exported(target) and read_manifest(target))
    except CheckpointError:
        return False


class ExportedPart(nn.Module):
    """A part whose calls are graphs: arrays on the CPU, float32. ``net`` is its network without weights.

    Calls on the ``meta`` device go to ``net``, so that memory is planned as with PyTorch.
    """

    def __init__(self, net: nn.Module, graphs: Mapping[str, _Graph]) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        self.graphs = graphs
        self.config = net.config

    def __getattr__(self, name: str) -> Any:
        """Give what the network states, its calls, and its methods that use them: ``denoise``, ``predict``."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in self.graphs:
                return partial(self._call, name)
            member = getattr(type(self.net), name, None)
            return MethodType(member, self) if isinstance(member, FunctionType) else getattr(self.net, name)

    def _apply(self, *_arguments: object, **_options: object) -> Self:
        return self  # there is nothing to move or to convert

    def forward(self, *inputs: Tensor) -> Any:
        return self._call("forward", *inputs) if "forward" in self.graphs else type(self.net).forward(self, *inputs)

    def decode(self, z: Tensor, quantise: bool = True) -> Tensor:
        if not quantise:
            raise ConfigError("an exported decoder always quantises; use the model in PyTorch")
        return self._call("decode", z)  # type: ignore[no-any-return]

    def _call(self, method: str, *inputs: Tensor) -> Any:
        if inputs[0].device.type == "meta":
            return getattr(self.net, method)(*inputs)
        return self.graphs[method](inputs)


class _Graph:
    """A session with tensors around it. Copies of the part share it. halo: see ``Call``."""

    def __init__(self, session: Session, batches: bool, halo: int | None) -> None:
        self.session = session
        self.batches = batches
        self.halo = halo

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __call__(self, inputs: tuple[Tensor, ...]) -> Any:
        batches = [inputs] if self.batches else zip(*(torch.split(value, 1) for value in inputs), strict=True)
        found = [self._run(batch) if self.halo is None else self._in_bands(batch[0], self.halo) for batch in batches]
        outputs = tuple(torch.cat(each) for each in zip(*found, strict=True))
        return outputs if len(outputs) > 1 else outputs[0]

    def _run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        return [torch.from_numpy(array) for array in self.session([_array(value) for value in inputs])]

    def _in_bands(self, x: Tensor, halo: int) -> list[Tensor]:
        """Compute a few rows at a time: for large maps at the scale of the result there may not be memory."""
        height, width = x.shape[-2:]
        rows = max(1, _BAND_PIXELS // width)
        bands = []
        for top in range(0, height, rows):
            first, last = max(0, top - halo), min(height, top + rows + halo)
            (band,) = self._run([x[..., first:last, :]])
            scale = band.shape[-2] // (last - first)
            bands.append(band[..., scale * (top - first) : scale * (min(height, top + rows) - first), :])
        return [torch.cat(bands, -2)]


def _array(value: Tensor) -> NDArray[Any]:
    value = value if value.dtype == torch.long else value.float()
    return value.detach().contiguous().numpy()


def _network(place: Path, kept: bool) -> nn.Module:
    """Return a part's network, without weights unless they are kept beside the graphs."""
    if kept:
        return load_part(place)
    foreign = read_json(place / CONFIG).get("type") == "spandrel"  # some compute with numbers while they are built
    with torch.device("cpu" if foreign else "meta"):
        return build_part(place).to("meta")


def _with_graphs(folder: Path, name: PartName, net: nn.Module, manifest: Manifest, place: Place) -> ExportedPart:
    records = {record.method: record for record in manifest.graphs if record.part == name}
    calls = calls_of(name, net, manifest.runtime)
    missing = [call.method for call in calls if call.method not in records]
    if missing:
        raise CheckpointError(
            f"{folder} has no graph for {' and '.join(missing)} of the {name}; export the model again"
        )
    graphs = {}
    for call in calls:
        record = records[call.method]
        session = open_session(manifest.runtime, folder / record.file, place)
        graphs[call.method] = _Graph(session, record.batches, call.halo)
    return ExportedPart(net, graphs)
