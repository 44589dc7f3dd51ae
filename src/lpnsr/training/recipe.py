"""A recipe: one short YAML file that states the networks, the data and the four stages of a training."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from lpnsr.checkpoints import ChainSettings, InferenceSettings, PartName
from lpnsr.degradation import PRESETS, DegradationRecipe
from lpnsr.errors import ConfigError
from lpnsr.system.config import StrictConfig, read_yaml

Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Reduction = Annotated[float, Field(gt=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
StageName = Literal["autoencoder", "upsampler", "denoiser", "noise-predictor"]
STAGES: tuple[StageName, ...] = ("autoencoder", "upsampler", "denoiser", "noise-predictor")
NEEDS: dict[StageName, tuple[StageName, ...]] = {
    "autoencoder": (),
    "upsampler": (),
    "denoiser": ("autoencoder", "upsampler"),
    "noise-predictor": ("autoencoder", "upsampler", "denoiser"),
}
"""The stages whose parts a stage keeps frozen around its own."""
PART_OF: dict[StageName, PartName] = {
    "autoencoder": "autoencoder",
    "upsampler": "upsampler",
    "denoiser": "denoiser",
    "noise-predictor": "noise_predictor",
}


class DataRecipe(StrictConfig):
    """Degraded crops: ``pool`` pairs of ``crop`` HR pixels are drawn once and cut into ``patch`` HR pixels in
    training.

    A crop is cut from the photograph reduced to a random share of its size, within ``reduction`` as far as the
    photograph is large enough. Of ``candidates``, each with a place and a share of its own, that with most detail is
    taken, which favours strong reductions. ``degradations`` gives the odds of the presets of lpnsr.degradation and of
    your own under ``presets``, whose keys are those of ``DegradationRecipe``. Up to ``validation`` photographs, of
    ten one, are kept from training for scores and sample grids.
    """

    crop: Annotated[int, Field(ge=64, multiple_of=4)] = 256
    pool: PositiveInt = 6000
    reduction: tuple[Reduction, Reduction] = (1.0, 1.0)
    candidates: PositiveInt = 3
    degradations: Annotated[Mapping[str, Positive], Field(min_length=1)] = {"real": 1.0}
    presets: Mapping[str, DegradationRecipe] = {}
    validation: NonNegativeInt = 8

    def preset(self, name: str) -> DegradationRecipe:
        """A degradation by its name in ``degradations``."""
        return self.presets[name] if name in self.presets else PRESETS[name]

    @model_validator(mode="after")
    def _reduction_is_a_range(self) -> DataRecipe:
        if self.reduction[0] > self.reduction[1]:
            raise ValueError(f"reduction = {list(self.reduction)}: the smaller share comes first")
        return self

    @model_validator(mode="after")
    def _names_are_known(self) -> DataRecipe:
        known = [*PRESETS, *self.presets]
        for name in self.degradations:
            if name not in known:
                raise ValueError(f"degradations has {name!r}, which is none of {', '.join(known)}")
            if self.preset(name).scale != 4:
                raise ValueError(f"presets.{name}.scale = {self.preset(name).scale}, and models are trained for 4")
        return self


class LpipsRecipe(StrictConfig):
    """Which LPIPS is the loss: ``squeeze`` is in the package; ``vgg`` needs two files of yours.

    trunk: torchvision's VGG-16 weights; heads: the calibration of LPIPS v0.1 (its ``vgg.pth``).
    """

    net: Literal["squeeze", "vgg"] = "squeeze"
    trunk: Path | None = None
    heads: Path | None = None


class GanRecipe(StrictConfig):
    """Hinge GAN: from step ``start`` on, with ``weight`` beside the other losses.

    kind: ``feature`` sees the image and what LPIPS's network makes of it, ``unet`` and ``patch`` the image alone. on: a
    ``patch`` discriminator can judge the latent instead. adaptive: ``weight`` times the ratio of the gradients that the
    other losses and the GAN's leave at the last layer (VQGAN, Eq. 7). alternate: generator and discriminator take
    turns instead of both learning at each step. begin_with: the stage whose discriminator this one begins as a copy of.
    """

    weight: Weight = 0.1
    start: NonNegativeInt = 0
    kind: Literal["feature", "unet", "patch"] = "feature"
    on: Literal["image", "latent"] = "image"
    channels: PositiveInt = 64
    learning_rate: Positive = 5e-4
    adaptive: bool = False
    alternate: bool = False
    begin_with: StageName | None = None


class StageRecipe(StrictConfig):
    """Optimiser, length and loss weights of one stage.

    Losses on the image: pixel (L1), lpips, lattice and excess (see losses.py), symmetry (L1 between the result
    and that of the mirrored input). On the latent: latent (the denoiser's mean squared error), commitment (a
    codebook's).

    The denoiser takes its image losses at the timestep indices below ``image_loss_below`` only: left to the latent
    loss alone, the noisiest steps keep to the conditional mean. In a share ``rollout`` of its batches it is given the
    last step's state as its own chain arrives at it. The noise predictor begins with ``regression`` steps towards the
    optimal noise of Eq. 9. ``checkpointing`` recomputes the chain's steps in the backward pass to save memory.
    A ``fresh`` stage begins untrained even where the run begins with a model, whose part may then be of another size.
    """

    steps: PositiveInt
    batch: PositiveInt = 16
    patch: Annotated[int, Field(ge=64, multiple_of=16)] = 128
    learning_rate: Positive = 2e-4
    final_learning_rate: Weight = 1e-6
    warmup: NonNegativeInt = 200
    betas: tuple[Momentum, Momentum] = (0.9, 0.99)
    clip: Positive = 1.0
    ema: Momentum = 0.999
    pixel: Weight = 1.0
    lpips: Weight = 1.0
    lattice: Weight = 0.0
    excess: Weight = 0.0
    symmetry: Weight = 0.0
    latent: Weight = 0.0
    commitment: Weight = 0.25
    image_loss_below: PositiveInt = 10**6
    rollout: Annotated[float, Field(ge=0, le=1)] = 0.0
    regression: NonNegativeInt = 0
    checkpointing: bool = False
    fresh: bool = False
    gan: GanRecipe | None = None
    start_from: Mapping[Literal["bicubic", "upsampler"], Weight] = {"upsampler": 1.0}

    @model_validator(mode="after")
    def _starts_somewhere(self) -> StageRecipe:
        if not sum(self.start_from.values()) > 0:
            raise ValueError("start_from needs odds above 0 for bicubic or upsampler")
        return self


class ModelRecipe(StrictConfig):
    """What the exported model folder says of itself; ``inference`` as in its model.json.

    ``training`` tells what it was trained on; empty, the export counts the photographs and names their degradations.
    """

    licence: str = "unknown"
    description: str = ""
    training: str = ""
    inference: InferenceSettings = InferenceSettings()


class Recipe(StrictConfig):
    """The whole file. ``networks`` holds one configuration a part, as ``lpnsr.networks.build`` takes it."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    networks: dict[PartName, dict[str, Any]]
    chain: ChainSettings
    model: ModelRecipe = ModelRecipe()
    data: DataRecipe = DataRecipe()
    lpips: LpipsRecipe = LpipsRecipe()
    stages: dict[StageName, StageRecipe]

    @model_validator(mode="after")
    def _patches_fit(self) -> Recipe:
        for name, stage in self.stages.items():
            if stage.patch > self.data.crop:
                raise ValueError(f"stages.{name}.patch = {stage.patch} is larger than data.crop = {self.data.crop}")
        return self

    @model_validator(mode="after")
    def _networks_are_there(self) -> Recipe:
        for name in self.stages:
            for part in (PART_OF[other] for other in (name, *NEEDS[name])):
                if part not in self.networks:
                    raise ValueError(f"networks has no {part}, which the stage {name} needs")
        return self

    @model_validator(mode="after")
    def _discriminators_fit(self) -> Recipe:
        for name, stage in self.stages.items():
            gan = stage.gan
            if gan is None:
                continue
            if gan.on == "latent" and (gan.kind != "patch" or name not in ("denoiser", "noise-predictor")):
                raise ValueError(f"stages.{name}.gan: on: latent needs kind: patch, and a denoiser or noise-predictor")
            earlier = self.stages[gan.begin_with].gan if gan.begin_with in self.stages else None
            for key in ("kind", "on", "channels") if earlier else ():
                if getattr(gan, key) != getattr(earlier, key):
                    raise ValueError(
                        f"stages.{name}.gan begins with the discriminator of {gan.begin_with}, so its {key} has to be "
                        f"{getattr(earlier, key)} too"
                    )
        return self


def load_recipe(name: str) -> Recipe:
    """The recipe of a YAML file, or a bundled one by name (``lite``, ``lite-gpu``, ``paper``).

    A file with the key ``extends``, a bundled name or a path beside it, states only what differs from that recipe: the
    keys of its sections and stages take the place of those there, each as a whole. Raises ConfigError.
    """
    values = _values(name, Path(), ())
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
