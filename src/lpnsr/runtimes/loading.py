"""Parts that compute in a runtime and otherwise behave like the networks that they were exported from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
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
from lpnsr.runtimes import export
from lpnsr.runtimes.calls import calls_of
from lpnsr.runtimes.manifest import FORMAT, GraphRecord, Manifest, is_exported, model_digest, read_manifest
from lpnsr.runtimes.sessions import RUNTIMES, RuntimeName, Session, open_session, runtime_version


def choose(folder: Path, wanted: str) -> RuntimeName | None:
    """Choose the runtime for a model, None being PyTorch. ``auto`` is PyTorch, or what it was exported for.

    Raises ConfigError for a runtime that is unknown or is not the folder's.
    """
    if wanted not in ("auto", "torch", *RUNTIMES):
        raise ConfigError(f"runtime {wanted!r}: choose auto, torch, {' or '.join(RUNTIMES)}")
    if not is_exported(folder):
        return next((name for name in RUNTIMES if name == wanted), None)
    made_for = read_manifest(folder).runtime
    if wanted not in ("auto", made_for):
        raise ConfigError(
            f"{folder} is exported for {made_for}, not for {wanted}; give the model that it was made from"
        )
    return made_for


def cpu_float32(device: str, dtype: str) -> tuple[str, str]:
    """Return the device and arithmetic of the runtimes. Raises ConfigError if others were asked for."""
    if device not in ("auto", "cpu") or dtype not in ("auto", "float32"):
        raise ConfigError(f"device {device} and dtype {dtype}: the runtimes compute on the cpu in float32; use torch")
    return "cpu", "float32"


def load(
    folder: Path, runtime: RuntimeName, cache_dir: Path | str | None = None
) -> tuple[ModelSpec, dict[PartName, nn.Module]]:
    """Load specification and parts of an exported folder; or of a model, exported into the cache on first use.

    Raises MissingExtraError, CheckpointError, OutputError if the cache cannot be written.
    """
    if not is_exported(folder):
        folder = cached_export(folder, runtime, cache_dir)
    manifest = read_manifest(folder)
    spec = read_spec(folder)
    nets = {name: _network(folder / place, name in manifest.kept) for name, place in spec.parts.items()}
    check_parts(nets, str(folder))
    return spec, {
        name: net if name in manifest.kept else _with_graphs(folder, name, net, manifest) for name, net in nets.items()
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
    """A part whose calls are graphs: float32, on the CPU. ``net`` is its network without weights.

    Calls on the ``meta`` device go to ``net``, so that memory is planned as with PyTorch.
    """

    def __init__(self, net: nn.Module, graphs: Mapping[str, _Graph]) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        self.graphs = graphs
        self.config = net.config

    def __getattr__(self, name: str) -> Any:
        """Give what the network states, and its methods that use the calls: ``denoise``, ``predict``, ``upsample``."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            member = getattr(type(self.net), name, None)
            return MethodType(member, self) if isinstance(member, FunctionType) else getattr(self.net, name)

    def upsample(self, lr: Tensor) -> Any:
        """Return U(lr) and, where it has such, the features."""
        return self._call("upsample", (lr,)) if "upsample" in self.graphs else (self._call("forward", (lr,)), None)

    def _apply(self, *_arguments: object, **_options: object) -> Self:
        return self  # there is nothing to move or to convert

    def forward(self, *inputs: Tensor) -> Any:
        return self._call("forward", inputs) if "forward" in self.graphs else self.upsample(*inputs)[0]

    def encode(self, image: Tensor) -> Tensor:
        return self._call("encode", (image,))  # type: ignore[no-any-return]

    def decode(self, z: Tensor, quantise: bool = True) -> Tensor:
        if not quantise:
            raise ConfigError("an exported decoder always quantises; use the model in PyTorch")
        return self._call("decode", (z,))  # type: ignore[no-any-return]

    def _call(self, method: str, inputs: tuple[Tensor, ...]) -> Any:
        if inputs[0].device.type == "meta":
            return getattr(self.net, method)(*inputs)
        return self.graphs[method](inputs)


class _Graph:
    """A session with tensors around it. Copies of the part share it."""

    def __init__(self, session: Session, record: GraphRecord) -> None:
        self.session = session
        self.record = record

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __call__(self, inputs: tuple[Tensor, ...]) -> Any:
        batches = [inputs] if self.record.batches else zip(*(torch.split(value, 1) for value in inputs), strict=True)
        found = [self.session([_array(value) for value in batch]) for batch in batches]
        outputs = tuple(torch.cat([torch.from_numpy(array) for array in each]) for each in zip(*found, strict=True))
        return outputs if len(outputs) > 1 else outputs[0]


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


def _with_graphs(folder: Path, name: PartName, net: nn.Module, manifest: Manifest) -> ExportedPart:
    graphs = {
        record.method: _Graph(open_session(manifest.runtime, folder / record.file), record)
        for record in manifest.graphs
        if record.part == name
    }
    missing = [call.method for call in calls_of(name, net) if call.method not in graphs]
    if missing:
        raise CheckpointError(
            f"{folder} has no graph for {' and '.join(missing)} of the {name}; export the model again"
        )
    return ExportedPart(net, graphs)
