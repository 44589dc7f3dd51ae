"""Trained parts: from a run's checkpoints to networks, and to a model folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lpnsr.checkpoints import ModelSpec, PartName, load_folder, resolve, save_folder
from lpnsr.checkpoints.hashes import tensors_sha256
from lpnsr.checkpoints.tensors import load_strict
from lpnsr.errors import TrainingError
from lpnsr.networks import build
from lpnsr.training.data import describe_pool
from lpnsr.training.recipe import PART_OF, STAGES, Recipe, StageName

CHECKPOINT = "checkpoint.pt"
POOL = "pool"
log = logging.getLogger(__name__)


def load_part(recipe: Recipe, name: StageName, run: Path, begin_with: str | None = None) -> nn.Module:
    """The EMA weights of a finished or running stage; where there are none, those of the model ``begin_with``.

    Raises TrainingError where neither has them.
    """
    return _part(recipe, name, run, load_checkpoint(run / name / CHECKPOINT), begin_with)


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


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """A stage's checkpoint, on the CPU; None if there is none. Raises TrainingError if it cannot be read."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever a damaged file makes of the unpickler
        raise TrainingError(f"{path} is damaged or no checkpoint: move it away to begin the stage again") from None
    if not isinstance(state, dict) or not {"step", "trained", "ema"} <= set(state):
        raise TrainingError(f"{path} is damaged or no checkpoint: move it away to begin the stage again")
    return state


def surroundings(recipe: Recipe, around: Mapping[PartName, nn.Module]) -> dict[str, Any]:
    """The chain and the other parts by which a stage is trained, where it has any; kept in its checkpoint."""
    if not around:
        return {}
    digests = {part: tensors_sha256(net.state_dict()) for part, net in around.items()}
    return {"chain": recipe.chain.model_dump(mode="json"), "around": digests}


def _tell_origins(
    recipe: Recipe, parts: Mapping[PartName, nn.Module], origins: Mapping[StageName, tuple[int, dict[str, Any]]]
) -> None:
    """Warn of stages that are not finished, or were trained by another chain or around other parts than these."""
    there = surroundings(recipe, parts)
    for name, (step, origin) in origins.items():
        steps = recipe.stages[name].steps if name in recipe.stages else 0
        if step < steps:
            log.warning("%s is exported as it is after %d of %d steps", name, step, steps)
        if origin.get("chain", there["chain"]) != there["chain"]:
            log.warning("%s was trained for another chain than the recipe's: %s", name, origin["chain"])
        others = [part for part, digest in origin.get("around", {}).items() if there["around"][part] != digest]
        if others:
            log.warning(
                "%s was trained around another %s than is exported: train it on, with more steps in the recipe",
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
    parts: dict[PartName, nn.Module] = {}
    origins: dict[StageName, tuple[int, dict[str, Any]]] = {}
    for name in STAGES:
        state = load_checkpoint(run / name / CHECKPOINT)
        parts[PART_OF[name]] = _part(recipe, name, run, state, begun_with)
        if state is None:
            log.info("%s is that of %s", name, begun_with)
        else:
            origins[name] = state["step"], state.get("origin", {})
    _tell_origins(recipe, parts, origins)
    save_folder(folder, spec, parts, dtype=torch.float16, overwrite=True)
