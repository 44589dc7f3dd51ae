"""Description and check of a model folder, without building a network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from lpnsr.checkpoints.download import LockEntry, check_file, known_sha256, read_lock
from lpnsr.checkpoints.locate import downloads_folder
from lpnsr.checkpoints.registry import OFFICIAL, official_files, predictor_of, shapes_hash
from lpnsr.checkpoints.spec import ModelSpec, PartName, read_json, read_spec
from lpnsr.errors import CheckpointError, LpnsrError
from lpnsr.system.hashes import file_sha256

if TYPE_CHECKING:
    from torch import nn

_PART_FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True)
class PartSummary:
    """A part as it is stored: its network's type and configuration, learnt numbers, bytes on disk."""

    name: str
    type: str
    parameters: int
    bytes: int
    config: dict[str, object]


@dataclass(frozen=True)
class Check:
    """One thing that was verified. ``detail`` says what was found."""

    what: str
    ok: bool
    detail: str


def summarise(path: Path) -> tuple[ModelSpec, list[PartSummary]]:
    """Summarise a model and its parts: of a folder, by headers alone; of a file, by loading it.

    Raises CheckpointError, MissingExtraError.
    """
    if path.is_file():
        return _of_file(path)
    spec = read_spec(path)
    return spec, [_summary(name, path / place) for name, place in spec.parts.items()]


def _of_file(path: Path) -> tuple[ModelSpec, list[PartSummary]]:
    from lpnsr.checkpoints.foreign import load_file
    from lpnsr.networks import cost, describe

    loaded = load_file(path)
    net = loaded.parts["upsampler"]
    config = describe(net)
    kind = f"spandrel {config['architecture']}"
    return loaded.spec, [PartSummary("upsampler", kind, cost(net).parameters, path.stat().st_size, config)]


def _summary(name: str, folder: Path) -> PartSummary:
    config = read_json(folder / "config.json")
    weights = folder / "model.safetensors"
    parameters = sum(math.prod(shape) for shape in _shapes(weights).values())
    return PartSummary(name, str(config.get("type")), parameters, weights.stat().st_size, config)


def _shapes(weights: Path) -> dict[str, list[int]]:
    try:
        with safe_open(weights, framework="numpy") as file:
            return {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{weights} is missing or damaged: {error}") from None


def verify_folder(folder: Path, cache_dir: Path | str | None = None) -> Iterator[Check]:
    """Check every file against its recorded SHA-256, load every part strictly, look for non-finite weights, and see
    whether the parts fit each other. Say of which published file a part is.

    Yields each check as it is made. Raises CheckpointError if there is no readable ``model.json``.
    """
    spec = read_spec(folder)
    records = read_lock(downloads_folder(cache_dir))
    for name in spec.parts.values():
        for file in _PART_FILES:
            yield _check_hash(folder, f"{name}/{file}", spec.sha256.get(f"{name}/{file}"))
    known = {f"{name}/{file}" for name in spec.parts.values() for file in _PART_FILES}
    for file in sorted(set(spec.sha256) - known):
        yield Check(file, False, "has a recorded hash, but belongs to no part")
    nets: dict[PartName, nn.Module] = {}
    for part, name in spec.parts.items():
        check = _check_part(part, folder / name, nets)
        origin = _origin(part, spec, folder / name / _PART_FILES[1], records) if check.ok else None
        yield replace(check, detail=f"{check.detail}; {origin}") if origin else check
    if len(nets) == len(spec.parts):  # else what does not load has been told
        yield _check_fit(nets, folder)


def _check_hash(folder: Path, file: str, recorded: str | None) -> Check:
    try:
        digest = file_sha256(folder / file)
    except OSError as error:
        return Check(file, False, f"cannot be read: {error.strerror or error}")
    if recorded is None:
        return Check(file, False, "has no recorded SHA-256 in model.json")
    if digest != recorded:
        return Check(file, False, f"SHA-256 is {digest} instead of the recorded {recorded}")
    return Check(file, True, f"SHA-256 {digest}")


def _check_part(part: PartName, folder: Path, nets: dict[PartName, nn.Module]) -> Check:
    """Load a part and put it into ``nets``."""
    import torch  # not at the top: summaries are for commands that answer at once

    from lpnsr.checkpoints.folder import load_part

    try:
        nets[part] = load_part(folder)
    except LpnsrError as error:
        return Check(part, False, str(error))
    for name, tensor in nets[part].state_dict().items():
        if not torch.isfinite(tensor).all():
            return Check(part, False, f"{name} holds values that are not finite")
    return Check(part, True, "loads strictly, all weights are finite")


def _origin(part: PartName, spec: ModelSpec, weights: Path, records: Mapping[str, LockEntry]) -> str | None:
    """Say which published file a sound part is of; None if its tensors are those of none."""
    files = [file for file in OFFICIAL if file.part == part and file.shapes == shapes_hash(_shapes(weights))]
    hashes = {known_sha256(file, records.get(file.name)): file.name for file in OFFICIAL if file.part == part}
    for source in spec.sources:
        if source.part == part and source.sha256 in hashes:
            return f"made of {hashes[source.sha256]}, by its SHA-256"
    return f"of the shapes of {' or '.join(file.name for file in files)}" if files else None


def _check_fit(nets: dict[PartName, nn.Module], folder: Path) -> Check:
    from lpnsr.checkpoints.fitting import check_parts

    try:
        check_parts(nets, str(folder))
    except CheckpointError as error:
        return Check("parts", False, str(error))
    return Check("parts", True, "fit each other")


def verify_downloads(name: str, cache_dir: Path | str | None = None) -> Iterator[Check]:
    """Check the downloaded files of an official model against their published or remembered SHA-256."""
    predictor = predictor_of(name)
    if predictor is None:
        return
    downloads = downloads_folder(cache_dir)
    records = read_lock(downloads)
    for file in official_files(predictor):
        path = downloads / file.name
        if not path.is_file():
            continue  # converted elsewhere, or tidied away: the model folder is what is used
        try:
            digest = check_file(path, file, records.get(file.name))
        except CheckpointError as error:
            yield Check(f"downloads/{file.name}", False, str(error))
        else:
            known = file.sha256 or file.name in records
            yield Check(f"downloads/{file.name}", True, f"SHA-256 {digest}" if known else "no hash is known for it")
