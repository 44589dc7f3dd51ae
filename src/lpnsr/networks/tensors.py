"""Between networks and their stored tensors: strict both ways, every difference named."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from lpnsr.errors import CheckpointError

DERIVED = ("relative_position_index", "attn_mask")
"""Buffers that a network computes from its configuration. Released files carry them, for one image size."""

NAMED = 5
"""Number of names that an error spells out; the rest are counted."""


def is_derived(name: str) -> bool:
    """Tell whether the tensor ``name`` is computed rather than learnt."""
    return name.rsplit(".", 1)[-1] in DERIVED


def learnt(net: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of ``net`` without derived buffers, sharing its memory, in its order."""
    return {name: tensor for name, tensor in net.state_dict().items() if not is_derived(name)}


def load_strict(net: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy ``tensors`` into ``net``, cast to its dtype. Derived buffers may be there or not: they are not read.

    Raises CheckpointError beginning with ``where`` that names missing, unexpected and misshapen tensors.
    """
    expected = learnt(net)
    given = {name: tensor for name, tensor in tensors.items() if not is_derived(name)}
    problems = [
        named("missing", [name for name in expected if name not in given]),
        named("unexpected", [name for name in given if name not in expected]),
        named("misshapen", [_difference(name, given[name], expected[name]) for name in expected if name in given]),
    ]
    found = [problem for problem in problems if problem]
    if found:
        raise CheckpointError(f"{where} does not fit the network: " + "; ".join(found))
    computed = {name: tensor for name, tensor in net.state_dict().items() if is_derived(name)}
    net.load_state_dict({**computed, **given}, strict=True)


def named(kind: str, names: Collection[str]) -> str:
    """Write ``2 missing: a, b``; an empty string if there are none. Empty names are left out."""
    names = [name for name in names if name]
    if not names:
        return ""
    rest = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} {kind}: " + ", ".join(names[:NAMED]) + rest


def _difference(name: str, given: Tensor, expected: Tensor) -> str:
    if given.shape != expected.shape:
        return f"{name} {tuple(given.shape)} instead of {tuple(expected.shape)}"
    if given.is_floating_point() != expected.is_floating_point():
        return f"{name} {given.dtype} instead of {expected.dtype}"
    return ""


def stored(net: nn.Module, dtype: torch.dtype, where: str) -> dict[str, Tensor]:
    """Return the learnt tensors of ``net`` on the CPU, floats cast to ``dtype``.

    Raises CheckpointError if one is not finite, or no longer is after the cast.
    """
    result = {}
    for name, tensor in learnt(net).items():
        kept = tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        if not torch.isfinite(kept).all():
            largest = tensor.abs().max().item()
            raise CheckpointError(
                f"{where}: {name} is not finite as {dtype} (largest magnitude {largest}). "
                "If the network itself is sound, store it as float32"
            )
        result[name] = kept
    return result


def write_safetensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a file that whoever may read others of this process may read. Raises OSError."""
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(dict(tensors), path)  # into a file for the owner alone, which takes the place of the other
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number and os.name == "posix":
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        raise OSError(errno.EIO, str(error), str(path)) from None
    path.chmod(mode)
