"""A recipe: one short YAML file that states the networks, the data and the stages of a training."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from graphlib import TopologicalSorter
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from lpnsr.checkpoints import ChainSettings, InferenceSettings, PartName
from lpnsr.errors import ConfigError
from lpnsr.system.config import StrictConfig, read_yaml
from lpnsr.training.data.recipe import DataRecipe
from lpnsr.training.stages import STAGES, StageRecipe, parse_stage


class LpipsRecipe(StrictConfig):
    """Network of the LPIPS loss: ``squeeze`` is in the package; ``vgg`` needs two files of yours.

    trunk: torchvision's VGG-16 weights; heads: the calibration of LPIPS v0.1 (its ``vgg.pth``).
    """

    net: Literal["squeeze", "vgg"] = "squeeze"
    trunk: Path | None = None
    heads: Path | None = None


class ModelRecipe(StrictConfig):
    """Texts and settings of the exported model folder; ``inference`` as in its model.json.

    ``training`` tells what it was trained on; empty, the export counts the photographs and names their degradations.
    """

    licence: str = "unknown"
    description: str = ""
    training: str = ""
    inference: InferenceSettings = InferenceSettings()


class Recipe(StrictConfig):
    """The whole file. Each stage has a configuration of its own.

    networks: a configuration a part, as ``lpnsr.networks.build`` takes it; the denoiser's ``variance: measure`` is
    measured on the pool. weights: a model or a file of weights a part, which the part begins with, or is, where no
    stage trains it; null for none.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    networks: dict[PartName, dict[str, Any]]
    weights: Mapping[PartName, str | None] = {}
    chain: ChainSettings
    model: ModelRecipe = ModelRecipe()
    data: DataRecipe = DataRecipe()
    lpips: LpipsRecipe = LpipsRecipe()
    stages: dict[str, SerializeAsAny[StageRecipe]]

    @field_validator("stages", mode="before")
    @classmethod
    def _each_by_its_own(cls, stages: object) -> object:
        if not isinstance(stages, Mapping):
            return stages
        parsed = {}
        for name, values in stages.items():
            parsed[name] = parse_stage(name, values) if isinstance(values, Mapping) else values
        return parsed

    @model_validator(mode="after")
    def _stages_fit(self) -> Recipe:
        for name, stage in self.stages.items():
            if stage.patch > self.data.crop:
                raise ValueError(f"stages.{name}.patch = {stage.patch} is larger than data.crop = {self.data.crop}")
            for part in self.parts_of(name):
                if part not in self.networks:
                    raise ValueError(f"networks has no {part}, which the stage {name} needs")
            if "teacher" in STAGES[name].pictures(stage, self.networks) and self.data.teacher is None:
                raise ValueError(f"stages.{name} needs the pictures of a teacher: name a model in data.teacher")
        return self

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The stages in the order of their training: after those that train what they need, and tuning last."""
        before = TopologicalSorter[str]()
        for name in self.stages:
            kind = STAGES[name]
            needed = set(self.parts_of(name)) - (set() if kind.tunes else set(kind.trains))
            others = (o for o in self.stages if o != name and (kind.tunes or not STAGES[o].tunes))
            before.add(name, *(other for other in others if needed & set(STAGES[other].trains)))
        return tuple(before.static_order())

    def parts_of(self, name: str) -> tuple[PartName, ...]:
        """The parts of a stage: those in training, those around them, the pre-upsampler that makes its starts."""
        kind, stage = STAGES[name], self.stages[name]
        parts = (*kind.trains, *kind.needs)
        if all(part in self.networks for part in parts) and "start" in kind.pictures(stage, self.networks):
            parts = (*parts, "upsampler")
        return parts


def load_recipe(name: str, defaults: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a YAML file, or a bundled one by name (``base``, ``lite``, ``paper``).

    A file with the key ``extends``, a bundled name or a path beside it, states only what differs from that recipe: the
    keys of its sections and stages take the place of those there, each as a whole. ``defaults`` are the sections of a
    recipe that has none of its own. Raises ConfigError.
    """
    values = {**(defaults or {}), **_values(name, Path(), ())}
    try:
        return Recipe.parse(values, name)
    except ConfigError as error:
        if {"networks", "chain", "stages"} <= set(values):
            raise
        raise ConfigError(f"{error}; a recipe that states only what differs begins with: extends: lite") from None


def _values(name: str, beside: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The keys of a recipe with those of the recipes that it extends."""
    path = beside / name
    if path.suffix not in (".yaml", ".yml"):
        folder = Path(str(files("lpnsr"))) / "training" / "recipes"
        path = folder / f"{name}.yaml"
        if not path.is_file():
            bundled = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
            raise ConfigError(f"no recipe {name!r}: give {bundled}, or the path of a .yaml file")
    if path.resolve() in seen:
        raise ConfigError(f"{path} extends itself")
    values = read_yaml(path)
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"{path}: extends = {base!r}: the name of one recipe is needed")
    return _laid_over(_values(base, path.parent, (*seen, path.resolve())), values)


def _laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of ``over`` laid over those of ``base`` key by key, and those of ``stages`` stage by stage."""
    result = dict(base)
    for key, value in over.items():
        known = result.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            result[key] = _laid_over(known, value) if key == "stages" else {**known, **value}
        else:
            result[key] = value
    return result
