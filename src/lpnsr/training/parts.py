"""Trained parts: from a run's checkpoints to networks, and to a model folder."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lpnsr.checkpoints import ModelSpec, PartName, load_folder, resolve, save_folder
from lpnsr.errors import TrainingError
from lpnsr.networks import build
from lpnsr.networks.tensors import load_strict
from lpnsr.system.hashes import tensors_sha256
from lpnsr.training.data.pairs import describe_pool
from lpnsr.training.recipe import PART_OF, STAGES, Recipe, StageName

CHECKPOINT, BEFORE = "checkpoint.pt", "checkpoint.before.pt"
POOL = "pool"
log = logging.getLogger(__name__)


def gather(
    recipe: Recipe, names: Sequence[StageName], run: Path, begin_with: str | None
) -> tuple[dict[PartName, nn.Module], dict[StageName, tuple[int, dict[str, Any]]]]:
    """What the stages ``names`` have trained: their averaged weights, be they finished or not, and of those that this
    run has trained the step and the origin. Where it has not, the weights are those of the model ``begin_with``.

    Raises TrainingError where neither has them.
    """
    parts: dict[PartName, nn.Module] = {}
    origins: dict[StageName, tuple[int, dict[str, Any]]] = {}
    for name in names:
        state = load_checkpoint(run, name)
        parts[PART_OF[name]] = _part(recipe, name, run, state, begin_with)
        if state is None:
            log.info("%s is that of %s", name, begin_with)
        else:
            origins[name] = state["step"], state.get("origin", {})
    return parts, origins


def _part(
    recipe: Recipe, name: StageName, run: Path, state: dict[str, Any] | None, begin_with: str | None
) -> nn.Module:
    part = build(recipe.networks[PART_OF[name]])
    if state is not None:
        load_strict(part, state["ema"], f"{run / name} and the recipe differ: what it holds")
    elif begin_with is not None:
        load_weights(part, begin_with, name)
    else:
        raise _untrained(run, name)
    return part


def require_trained(run: Path, names: Sequence[StageName]) -> None:
    """Raises TrainingError if a stage of ``names`` has no checkpoint."""
    for name in names:
        if not (run / name / CHECKPOINT).exists():
            raise _untrained(run, name)


def _untrained(run: Path, name: StageName) -> TrainingError:
    return TrainingError(
        f"{run / name / CHECKPOINT} is missing: train the stage {name} first, with the same --out, or take it from "
        "a model with --begin-with"
    )


def load_weights(part: nn.Module, model: str, name: StageName) -> None:
    """Give ``part`` the weights of what the stage ``name`` trains from a model, found as from_pretrained finds it."""
    parts = load_folder(resolve(model)).parts
    if PART_OF[name] not in parts:
        raise TrainingError(f"the model {model} has no {PART_OF[name]}")
    load_strict(part, parts[PART_OF[name]].state_dict(), f"the {PART_OF[name]} of {model}")


def load_checkpoint(run: Path, name: StageName) -> dict[str, Any] | None:
    """The checkpoint of a stage, on the CPU; None if there is none. Raises TrainingError if it is damaged."""
    path = run / name / CHECKPOINT
    if not path.exists():
        return None
    try:
        path.open("rb").close()
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror or error}") from None
    state: Any = None
    try:
        with zipfile.ZipFile(path) as records:
            sound = records.testzip() is None  # PyTorch itself does not look at the sums
        if sound:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception:  # whatever a damaged file makes of the readers
        state = None
    if not isinstance(state, dict) or not {"step", "trained", "ema"} <= set(state):
        before = path.with_name(BEFORE)
        way = f"put {BEFORE}, an earlier save, in its place" if before.exists() else "move it away to begin again"
        raise TrainingError(f"{path} is damaged or no checkpoint: {way}")
    if state.get("stage", name) != name:  # those of earlier versions do not tell
        raise TrainingError(f"{path} is of the stage {state['stage']}: put back what belongs there, or move it away")
    return state


def surroundings(recipe: Recipe, around: Mapping[PartName, nn.Module]) -> dict[str, Any]:
    """The chain and the other parts by which a stage is trained, where it has any; kept in its checkpoint."""
    if not around:
        return {}
    digests = {part: tensors_sha256(net.state_dict()) for part, net in around.items()}
    return {"chain": recipe.chain.model_dump(mode="json"), "around": digests}


def tell_origins(
    recipe: Recipe, parts: Mapping[PartName, nn.Module], origins: Mapping[StageName, tuple[int, dict[str, Any]]]
) -> None:
    """Warn of stages that are not finished, or were trained by another chain or around other parts than these."""
    there = surroundings(recipe, parts)
    for name, (step, origin) in origins.items():
        steps = recipe.stages[name].steps if name in recipe.stages else 0
        if step < steps:
            log.warning("%s is taken as it is after %d of %d steps", name, step, steps)
        if origin.get("chain", there["chain"]) != there["chain"]:
            log.warning("%s was trained for another chain than the recipe's: %s", name, origin["chain"])
        others = [part for part, digest in origin.get("around", {}).items() if there["around"][part] != digest]
        if others:
            log.warning(
                "%s was trained around another %s than this one: train it on, with more steps in the recipe",
                name,
                " and ".join(others),
            )


def export(recipe: Recipe, run: Path, folder: Path, begun_with: str | None = None) -> None:
    """Write the four parts of a run as a model folder in half precision, in the place of an older one.

    Parts that the run has not trained are those of ``begun_with``, a model. What the recipe does not tell of the
    training, the card takes from the pool and from ``begun_with``.
    """
    begun = f"Begun with the weights of {begun_with}." if begun_with else ""
    told = recipe.model.training or describe_pool(run / POOL)
    spec = ModelSpec(
        name=folder.name,
        licence=recipe.model.licence,
        description=recipe.model.description,
        training=" ".join(filter(None, (told, begun))),
        parts={PART_OF[name]: PART_OF[name] for name in STAGES},
        chain=recipe.chain,
        inference=recipe.model.inference,
    )
    parts, origins = gather(recipe, STAGES, run, begun_with)
    tell_origins(recipe, parts, origins)
    if recipe.model.licence == "unknown":
        log.info("the model's card names no licence: set model.licence in the recipe")
    save_folder(folder, spec, parts, dtype=torch.float16, overwrite=True)
