"""A graph in its runtime: arrays in, arrays out. The runtimes are imported here and nowhere else."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from lpnsr.errors import CheckpointError, ConfigError, MissingExtraError

RuntimeName = Literal["onnx", "openvino", "ncnn"]
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)

Arrays = Sequence[NDArray[Any]]
Session = Callable[[Arrays], Arrays]
"""Inputs in the graph's order -> outputs in its order, for any batch and size."""

_PACKAGES: dict[RuntimeName, str] = {"onnx": "onnxruntime", "openvino": "openvino", "ncnn": "ncnn"}


UNITS: dict[RuntimeName, dict[str, str]] = {
    "onnx": {
        "cpu": "CPUExecutionProvider",
        "cuda": "CUDAExecutionProvider",
        "directml": "DmlExecutionProvider",
        "coreml": "CoreMLExecutionProvider",
    },
    "openvino": {"cpu": "CPU", "gpu": "GPU", "npu": "NPU"},
}
"""Devices of a runtime, and its own names for them."""
_CPU_AS_GPU = 3  # kind of a Vulkan device that computes on the processor


@dataclass(frozen=True)
class Place:
    """The device and precision that graphs are computed with.

    gpu, half are for ncnn: Vulkan's number of a GPU, None for the CPU; whether maps are stored in 16 bits: bfloat16 on
    the CPU, float16 on a GPU. unit is for the others: ONNX Runtime's provider, OpenVINO's device.
    """

    gpu: int | None = None
    half: bool = False
    unit: str | None = None


def import_package(package: str, runtime: RuntimeName) -> Any:
    """Import a package of the extra ``runtime``. Raises MissingExtraError, which names the pip line."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingExtraError(runtime, package) from None


def runtime_version(runtime: RuntimeName) -> str:
    """Return the version of the installed runtime. Raises MissingExtraError."""
    return str(import_package(_PACKAGES[runtime], runtime).__version__)


def vulkan_gpu(device: str) -> int | None:
    """Return Vulkan's number for ``device``: vulkan, vulkan:1, or auto, which is the first GPU, or None for the CPU.

    Raises ConfigError for a GPU that is not there, MissingExtraError.
    """
    found = re.fullmatch(r"auto|vulkan(?::(\d+))?", device)
    if not found:
        return None
    ncnn = import_package("ncnn", "ncnn")
    with _silent():
        kinds = [ncnn.get_gpu_info(number).type() for number in range(ncnn.get_gpu_count())]
    if device == "auto":
        return next((number for number, kind in enumerate(kinds) if kind != _CPU_AS_GPU), None)
    if (number := int(found[1] or 0)) >= len(kinds):
        raise ConfigError(
            f"device {device!r}: Vulkan finds this many GPUs here: {len(kinds)}; install a driver with Vulkan, or "
            "choose cpu"
        )
    return number


def unit(runtime: RuntimeName, device: str) -> str:
    """Return the runtime's own name for ``device``; auto is the CPU.

    Raises ConfigError for a device that it does not have, or does not find here, MissingExtraError.
    """
    names, wanted = UNITS[runtime], "cpu" if device == "auto" else device
    if wanted not in names:
        raise ConfigError(f"device {device!r}: with the runtime {runtime} choose auto, {', '.join(names)}")
    module = import_package(_PACKAGES[runtime], runtime)
    found = module.get_available_providers() if runtime == "onnx" else module.Core().available_devices
    here = [name for name, own in names.items() if any(each.partition(".")[0] == own for each in found)]
    if wanted not in here:
        what = "this build of onnxruntime has" if runtime == "onnx" else "OpenVINO finds"
        raise ConfigError(f"device {device!r}: {what} {', '.join(here)}; see docs/performance.md for what it needs")
    return names[wanted]


@contextmanager
def _silent() -> Iterator[None]:
    """Keep off standard error what Vulkan is reported to have, or not to have."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def open_session(runtime: RuntimeName, path: Path, place: Place = Place()) -> Session:
    """Load a graph, with as many threads as PyTorch uses.

    Raises MissingExtraError, CheckpointError for a file that the runtime does not take.
    """
    module = import_package(_PACKAGES[runtime], runtime)
    try:
        if runtime == "ncnn":
            session = _ncnn_session(module, path, place)
        else:
            opened = _onnx_session if runtime == "onnx" else _openvino_session
            session = opened(module, path, place.unit or UNITS[runtime]["cpu"])
    except Exception as error:  # neither has a class of errors for this
        text = " ".join(str(error).split())
        raise CheckpointError(f"{path} cannot be loaded by {module.__name__}: {text}; export the model again") from None

    def run(arrays: Arrays) -> Arrays:
        try:
            return session(arrays)
        except Exception as error:
            if "alloc" in str(error).lower():  # std::bad_alloc, "Failed to allocate memory": there is no type for it
                raise MemoryError(str(error)) from None
            raise

    return run


def _onnx_session(module: Any, path: Path, provider: str) -> Session:
    options = module.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors: its warnings are about its own optimisations
    # Threads that spin between two calls would take the cores from PyTorch, which works there.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = module.InferenceSession(str(path), options, providers=[provider])
    names = [item.name for item in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))  # type: ignore[no-any-return]


def _openvino_session(module: Any, path: Path, device: str) -> Session:
    core = module.Core()
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if device != "NPU":  # which has no float32
        settings["INFERENCE_PRECISION_HINT"] = "f32"  # it takes less where the processor has it
    if device == "CPU":
        settings["INFERENCE_NUM_THREADS"] = torch.get_num_threads()
        settings["ENABLE_CPU_PINNING"] = False  # it would put two processes on the same cores
    compiled = core.compile_model(core.read_model(path), device, settings)

    def run(arrays: Arrays) -> Arrays:
        results = compiled([np.ascontiguousarray(array) for array in arrays])
        return [results[index].copy() for index in range(len(compiled.outputs))]  # its buffers serve the next call

    return run


def _ncnn_session(module: Any, path: Path, place: Place) -> Session:
    net = module.Net()
    net.opt.num_threads = torch.get_num_threads()
    net.opt.use_fp16_storage = net.opt.use_fp16_packed = place.half
    net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = place.half and place.gpu is None
    with _silent():
        if place.gpu is not None:
            net.opt.use_vulkan_compute = True
            net.set_vulkan_device(place.gpu)
        if net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin"))):
            raise RuntimeError("the file is damaged, or too large for the memory")
    inputs, outputs = net.input_names(), net.output_names()

    def run(arrays: Arrays) -> Arrays:
        pools = module.UnlockedPoolAllocator(), module.PoolAllocator()  # the network's own would keep what they hold
        for pool in pools:
            pool.set_size_compare_ratio(0.5)
        extractor = net.create_extractor()
        extractor.set_blob_allocator(pools[0])
        extractor.set_workspace_allocator(pools[1])
        try:
            for name, array in zip(inputs, arrays, strict=True):
                extractor.input(name, module.Mat(array[0]).clone())  # a Mat does not keep the array that it reads
            return [_extracted(extractor, name) for name in outputs]
        finally:
            extractor.clear()  # before the pools go

    return run


def _extracted(extractor: Any, name: str) -> NDArray[Any]:
    status, found = extractor.extract(name)
    if status:
        raise MemoryError(f"ncnn stopped with {status}, as it does where memory does not suffice")
    return np.array(found)[None]
