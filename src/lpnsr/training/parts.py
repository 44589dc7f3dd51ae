"""Trained parts: from a run's checkpoints to networks, and to a model folder."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from lpnsr.checkpoints import PARTS, ModelSpec, PartName, load_folder, resolve, save_folder
from lpnsr.errors import ConfigError, TrainingError
from lpnsr.networks import build, describe
from lpnsr.networks.tensors import load_strict
from lpnsr.system.hashes import tensors_sha256
from lpnsr.system.tensor_files import read_state_dict
from lpnsr.training.data.pairs import describe_pool
from lpnsr.training.recipe import Recipe
from lpnsr.training.stages import STAGES
from lpnsr.training.stages.denoiser import MEASURE

CHECKPOINT, BEFORE = "checkpoint.pt", "checkpoint.before.pt"
POOL = "pool"
log = logging.getLogger(__name__)


class Workshop:
    """The parts of a run's models: what its stages have trained, and what they begin with.

    begin_with: a model, which is asked before the recipe's ``weights``.
    """

    def __init__(self, recipe: Recipe, run: Path, begin_with: str | None = None) -> None:
        self.recipe, self.run, self.begin_with = recipe, run, begin_with

    def trainer(self, part: PartName, before: str | None = None) -> str | None:
        """The last stage, of those ``before`` one, that has trained a part."""
        trained = self._trained(part, before)
        return trained[-1] if trained else None

    def _trained(self, part: PartName, before: str | None) -> list[str]:
        names = list(self.recipe.order)
        names = names[: names.index(before)] if before in names else names
        return [name for name in names if part in STAGES[name].trains and (self.run / name / CHECKPOINT).exists()]

    def _tell_newer(self, part: PartName, name: str, before: str | None) -> None:
        """Warn of earlier stages of the recipe that were trained on after the stage ``name``."""

        def saved(stage: str) -> float:
            return (self.run / stage / CHECKPOINT).stat().st_mtime

        for other in self._trained(part, before):
            if saved(other) > saved(name):
                log.warning(
                    "the %s is taken from %s, but %s was trained on later: move %s away and train that stage again to "
                    "take over the newer weights",
                    part,
                    name,
                    other,
                    self.run / name / CHECKPOINT,
                )

    def source(self, part: PartName) -> str | None:
        """The model or file that a part begins with."""
        return self.begin_with or self.recipe.weights.get(part)

    def check(self, names: Collection[str]) -> None:
        """Raise TrainingError if a stage lacks a part that neither the run nor another of ``names`` gives it."""
        coming: set[PartName] = set()
        for name in (name for name in self.recipe.order if name in names):
            kind = STAGES[name]
            lacking = set(self.recipe.parts_of(name)) - coming - (set() if kind.tunes else set(kind.trains))
            for part in (part for part in PARTS if part in lacking):
                if self.trainer(part, name) is None and self.source(part) is None:
                    raise self._untrained(part, name)
            coming |= set(kind.trains)

    def _untrained(self, part: PartName, before: str | None = None) -> TrainingError:
        stages = [name for name in self.recipe.order if part in STAGES[name].trains and name != before]
        first = f"train the stage {stages[0]} first, with the same --out, or take" if stages else "take"
        return TrainingError(f"{self.run} has no {part}: {first} it from a model with --begin-with")

    def gather(
        self, parts: Iterable[PartName], before: str | None = None
    ) -> tuple[dict[PartName, nn.Module], dict[str, dict[str, Any]]]:
        """Trained networks, and the checkpoints, without tensors, of the stages that trained them. Their weights are
        the averaged ones, be the stages finished or not.

        Raises TrainingError where nothing has trained a part.
        """
        nets: dict[PartName, nn.Module] = {}
        states: dict[str, dict[str, Any]] = {}
        for part in parts:
            name = self.trainer(part, before)
            state = None if name is None else states.get(name) or load_checkpoint(self.run, name)
            if name is None or state is None:
                nets[part] = self.begun(part)
                log.info("%s is that of %s", part, self.source(part))
                continue
            self._tell_newer(part, name, before)
            states[name] = state
            nets[part] = build_part(self.recipe, part, state["networks"].get(part))
            prefix = f"{part}."
            tensors = {key[len(prefix) :]: value for key, value in state["ema"].items() if key.startswith(prefix)}
            load_strict(nets[part], tensors, f"{self.run / name} and the recipe differ: what it holds")
        return nets, {
            name: {key: state.get(key) for key in ("step", "origin", "hours")} for name, state in states.items()
        }

    def begun(self, part: PartName) -> nn.Module:
        """A part with the weights that it begins with. Raises TrainingError if there are none."""
        source = self.source(part)
        if source is None:
            raise self._untrained(part)
        if Path(source).is_file():
            net = build_part(self.recipe, part)
            load_strict(net, read_state_dict(source), source)
            return net
        there = load_folder(resolve(source)).parts
        if part not in there:
            raise TrainingError(f"the model {source} has no {part}")
        net = build_part(self.recipe, part, describe(there[part]))
        load_strict(net, there[part].state_dict(), f"the {part} of {source}")
        return net


def build_part(recipe: Recipe, part: PartName, known: Mapping[str, Any] | None = None) -> nn.Module:
    """The untrained network of a recipe; a variance that is to be measured is that of the configuration ``known``, or
    1 until it is."""
    if part not in recipe.networks:
        raise ConfigError(f"the recipe's networks have no {part}")
    config = dict(recipe.networks[part])
    if config.get("variance") == MEASURE:
        config["variance"] = (known or {}).get("variance") or (1.0,) * int(config.get("out_channels", 3))
    return build(config)


def load_checkpoint(run: Path, name: str) -> dict[str, Any] | None:
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
    if "networks" not in state:
        raise TrainingError(f"{path} was made by version 0.1: finish it there, or choose another --out")
    if state["stage"] != name:
        raise TrainingError(f"{path} is of the stage {state['stage']}: put back what belongs there, or move it away")
    return cast("dict[str, Any]", state)


def surroundings(recipe: Recipe, around: Mapping[PartName, nn.Module]) -> dict[str, Any]:
    """The chain and the other parts by which a stage is trained, where it has any; kept in its checkpoint."""
    if not around:
        return {}
    digests = {part: tensors_sha256(net.state_dict()) for part, net in around.items()}
    return {"chain": recipe.chain.model_dump(mode="json"), "around": digests}


def tell_origins(recipe: Recipe, parts: Mapping[PartName, nn.Module], states: Mapping[str, dict[str, Any]]) -> None:
    """Warn of stages that are not finished, or were trained by another chain or around other parts than these."""
    there = surroundings(recipe, parts)
    for name, state in states.items():
        steps = recipe.stages[name].steps
        if state["step"] < steps:
            log.warning("%s is taken as it is after %d of %d steps", name, state["step"], steps)
        origin = state["origin"] or {}
        if origin.get("chain", there["chain"]) != there["chain"]:
            log.warning("%s was trained for another chain than the recipe's: %s", name, origin["chain"])
        around = origin.get("around", {})
        others = [part for part, digest in around.items() if there["around"].get(part, digest) != digest]
        if others:
            log.warning(
                "%s was trained around another %s than this one: train it on, with more steps in the recipe",
                name,
                " and ".join(others),
            )


def export(recipe: Recipe, run: Path, folder: Path, begun_with: str | None = None) -> None:
    """Write the parts of a run as a model folder in half precision, in the place of an older one.

    Parts that the run has not trained are those of ``begun_with``, a model, or the recipe's ``weights``. What the
    recipe does not tell of the training, the card takes from the pool, the stages and ``begun_with``.
    """
    parts, states = Workshop(recipe, run, begun_with).gather(PARTS)
    tell_origins(recipe, parts, states)
    trained = {name: states.get(name) or load_checkpoint(run, name) for name in recipe.order}
    hours = [f"{name} {state['step']} steps in {state['hours']:.2g} h" for name, state in trained.items() if state]
    stages = [f"Stages: {', '.join(hours)}."] if hours else []
    begun = [f"Begun with the weights of {begun_with}."] if begun_with else []
    told = [recipe.model.training] if recipe.model.training else [describe_pool(run / POOL), *stages]
    spec = ModelSpec(
        name=folder.name,
        licence=recipe.model.licence,
        description=recipe.model.description,
        training=" ".join(filter(None, (*told, *begun))),
        parts={part: part for part in parts},
        chain=recipe.chain,
        inference=recipe.model.inference,
    )
    if recipe.model.licence == "unknown":
        log.info("the model's card names no licence: set model.licence in the recipe")
    save_folder(folder, spec, parts, dtype=torch.float16, overwrite=True)
