"""Checkpoint files of any wrapping -> one flat state dict of tensors. Nothing but tensors is ever unpickled."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lpnsr.errors import CheckpointError

CONTAINERS = frozenset({"state_dict", "params", "params_ema"})
"""Names of dictionaries that training scripts put around a state dict; ``params_ema`` is preferred."""

WRAPPERS = frozenset({"module", "_orig_mod"})
"""Modules that parallel training and ``torch.compile`` put around a network or inside of it."""


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file or of anything that ``torch.save`` wrote, unwrapped.

    Tensors may be memory-mapped. Raises CheckpointError if the file is missing or damaged, if it needs
    anything beyond tensors to be unpickled (which is refused, never done), or if it holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist or is no file")
    if path.suffix.lower() == ".safetensors":
        content: Any = read_safetensors(path)
    else:
        content = _read_torch(path)
    return unwrap(content, str(path))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file. Raises CheckpointError if it is missing, truncated or another thing."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} is damaged or no safetensors file ({error}). Fetch or convert it again"
        ) from None


def _read_torch(path: Path) -> Any:
    # Only the zip format can be mapped; the older one is read whole.
    mapped = zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        lines = [line.strip() for line in str(error).replace("WeightsUnpickler error:", "\n").splitlines()]
        reason = next((line for line in lines if line.lower().startswith(("trying to", "unsupported"))), lines[-1])
        if reason.startswith("Unsupported operand"):  # no pickle at all
            raise CheckpointError(f"{path} is damaged or no PyTorch checkpoint ({reason})") from None
        raise CheckpointError(
            f"{path} is refused: reading it would take more than tensors ({reason}). "
            "Such a file can run any code; ask its publisher for tensors alone or for safetensors"
        ) from None
    except MemoryError:
        raise CheckpointError(f"{path} does not fit into memory") from None
    except Exception as error:  # torch.load has no one class of errors for a damaged file
        raise CheckpointError(
            f"{path} is damaged or no PyTorch checkpoint ({type(error).__name__}: {str(error).splitlines()[:1]})"
        ) from None


def unwrap(content: Any, where: str) -> dict[str, Tensor]:
    """Return the one state dict inside ``content``, without wrappers in its names.

    Wrappers are taken off the front of names, and ``module`` and ``_orig_mod`` wherever they stand. Of tensors
    under several wrappings, those under ``params_ema`` are preferred, then the most wrapped: numbers, lists and
    the state of an optimiser stand outside. Raises CheckpointError, naming ``where``.
    """
    groups: dict[tuple[str, ...], dict[str, Tensor]] = {}
    for path, tensor in _leaves(content, ()):
        depth = next((i for i, name in enumerate(path) if name not in WRAPPERS | CONTAINERS), len(path))
        group = groups.setdefault(path[:depth], {})
        name = ".".join(name for name in path[depth:] if name not in WRAPPERS)
        if not name:
            raise CheckpointError(f"{where}: the tensor {'.'.join(path)!r} has no name without its wrappers")
        if name in group:
            raise CheckpointError(f"{where}: two tensors are named {name!r} once their wrappers are removed")
        if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
            raise CheckpointError(f"{where}: {name!r} is not a plain dense tensor")
        group[name] = tensor
    if not groups:
        raise CheckpointError(f"{where} holds no tensors")
    return groups[max(groups, key=lambda run: ("params_ema" in run, len(run), len(groups[run])))]


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Yield tensors in nested dictionaries with their names, dotted names taken apart."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        if len(path) > 100:
            raise CheckpointError("dictionaries in the checkpoint are nested over 100 deep")
        for key, inner in value.items():
            yield from _leaves(inner, (*path, *str(key).split(".")))
