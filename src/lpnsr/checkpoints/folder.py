"""A model is a folder: ``model.json``, a folder a part with ``config.json`` + ``model.safetensors``, ``README.md``.

Read strictly, written atomically: the folder is complete under its name or not there.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lpnsr import networks
from lpnsr.checkpoints.card import render_card
from lpnsr.checkpoints.spec import ModelSpec, PartName, read_json, read_spec
from lpnsr.errors import CheckpointError, LpnsrError, MissingExtraError, OutputError
from lpnsr.networks.tensors import load_strict, stored, write_safetensors
from lpnsr.system.atomic import refusal
from lpnsr.system.hashes import file_sha256
from lpnsr.system.tensor_files import read_safetensors

CONFIG, WEIGHTS, CARD, SPEC = "config.json", "model.safetensors", "README.md", "model.json"


@dataclass(frozen=True)
class LoadedModel:
    """The networks of a model, in evaluation mode, and what its folder says about them."""

    path: Path
    spec: ModelSpec
    parts: dict[PartName, nn.Module]


def load_folder(
    path: Path | str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> LoadedModel:
    """Build and fill every part of the model in ``path``, whatever precision it is stored in.

    Raises CheckpointError if anything is missing, damaged, of an unknown type or does not fit exactly.
    """
    folder = Path(path)
    spec = read_spec(folder)
    parts = {name: load_part(folder / place).to(device, dtype) for name, place in spec.parts.items()}
    return LoadedModel(folder, spec, parts)


def load_part(folder: Path) -> nn.Module:
    """Return the network of one part's folder: float32, on the CPU, in evaluation mode. Raises CheckpointError."""
    if any(folder.glob("*.onnx")) and not (folder / WEIGHTS).exists():
        raise CheckpointError(
            f"{folder} is of an exported model, which has graphs and no weights; give the model that it was made from"
        )
    net = build_part(folder)
    load_strict(net, read_safetensors(folder / WEIGHTS), str(folder / WEIGHTS))
    return net.eval()


def build_part(folder: Path) -> nn.Module:
    """Return the network of one part's folder without its weights. Raises CheckpointError."""
    try:
        return networks.build(read_json(folder / CONFIG))
    except (MissingExtraError, CheckpointError):
        raise
    except (LpnsrError, ValueError, TypeError, RuntimeError) as error:  # PyTorch refuses impossible sizes
        raise CheckpointError(f"{folder / CONFIG}: {error}") from None


def save_folder(
    path: Path | str,
    spec: ModelSpec,
    parts: Mapping[PartName, nn.Module],
    card: str | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> ModelSpec:
    """Write a model folder and return its specification with the hashes filled in.

    ``dtype`` is the stored precision (float16 halves the size); ``card`` is the text of README.md, by default
    made from ``spec``. Everything is written beside ``path`` and renamed at the end. Raises OutputError if
    ``path`` is there and ``overwrite`` is not given, is no model folder, or cannot be written;
    CheckpointError if ``parts`` are not those of ``spec`` or hold values that are not finite.
    """
    target = Path(path).absolute()
    if set(parts) != set(spec.parts):
        raise CheckpointError(f"the parts are {sorted(parts)}, but the specification names {sorted(spec.parts)}")
    check_target(target, overwrite)
    work = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work.mkdir()
        scale = getattr(parts.get("autoencoder"), "factor", getattr(parts.get("upsampler"), "scale", spec.scale))
        spec = spec.model_copy(update={"sha256": _write_parts(work, spec, parts, dtype), "scale": scale})
        (work / CARD).write_text(card or render_card(spec, parts), encoding="utf-8")
        _write_json(work / SPEC, spec.model_dump(mode="json"))
        put_in_place(work, target)
    except OSError as error:
        raise OutputError(f"the model cannot be written to {target}: {refusal(error, target) or error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return spec


def check_target(target: Path, overwrite: bool) -> None:
    """Raise OutputError unless a model may be written to the absolute path ``target``."""
    if not target.exists() and not target.is_symlink():
        return
    if not overwrite:
        raise OutputError(f"{target} exists already; choose another place, or overwrite it on purpose")
    # Never take the place of somebody's photographs.
    if not target.is_dir() or (any(target.iterdir()) and not (target / SPEC).is_file()):
        raise OutputError(f"{target} is no model folder, so it is not overwritten; choose another place")


def _write_parts(
    work: Path, spec: ModelSpec, parts: Mapping[PartName, nn.Module], dtype: torch.dtype
) -> dict[str, str]:
    hashes = {}
    for name, place in spec.parts.items():
        folder = work / place
        folder.mkdir()
        _write_json(folder / CONFIG, networks.describe(parts[name]))
        write_safetensors(stored(parts[name], dtype, name), folder / WEIGHTS)
        hashes.update({f"{place}/{file}": file_sha256(folder / file) for file in (CONFIG, WEIGHTS)})
    return hashes


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def put_in_place(work: Path, target: Path) -> None:
    """Rename the complete folder ``work`` to ``target``, whose former content goes. Raises OSError."""
    if not target.exists():
        work.rename(target)
        return
    old = work.with_suffix(".old")
    target.rename(old)
    try:
        work.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
