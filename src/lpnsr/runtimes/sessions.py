"""A graph in its runtime: arrays in, arrays out. The runtimes are imported here and nowhere else."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from lpnsr.errors import CheckpointError, MissingExtraError

RuntimeName = Literal["onnx", "openvino"]
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)

Arrays = Sequence[NDArray[Any]]
Session = Callable[[Arrays], Arrays]
"""Inputs in the graph's order -> outputs in its order, for any batch and size."""

_PACKAGES: dict[RuntimeName, str] = {"onnx": "onnxruntime", "openvino": "openvino"}


def import_package(package: str, runtime: RuntimeName) -> Any:
    """Import a package of the extra ``runtime``. Raises MissingExtraError, which names the pip line."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingExtraError(runtime, package) from None


def runtime_version(runtime: RuntimeName) -> str:
    """Return the version of the installed runtime. Raises MissingExtraError."""
    return str(import_package(_PACKAGES[runtime], runtime).__version__)


def open_session(runtime: RuntimeName, path: Path) -> Session:
    """Load a graph for the CPU, float32, with as many threads as PyTorch uses.

    Raises MissingExtraError, CheckpointError for a file that the runtime does not take.
    """
    module = import_package(_PACKAGES[runtime], runtime)
    try:
        session = _onnx_session(module, path) if runtime == "onnx" else _openvino_session(module, path)
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


def _onnx_session(module: Any, path: Path) -> Session:
    options = module.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors: its warnings are about its own optimisations
    # Threads that spin between two calls would take the cores from PyTorch, which works there.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = module.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))  # type: ignore[no-any-return]


def _openvino_session(module: Any, path: Path) -> Session:
    core = module.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # it takes less where the processor has it
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # it would put two processes on the same cores
    }
    compiled = core.compile_model(core.read_model(path), "CPU", settings)

    def run(arrays: Arrays) -> Arrays:
        results = compiled([np.ascontiguousarray(array) for array in arrays])
        return [results[index].copy() for index in range(len(compiled.outputs))]  # its buffers serve the next call

    return run
