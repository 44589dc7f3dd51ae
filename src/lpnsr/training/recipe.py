"""A recipe: one short YAML file that states the networks, the data and the four stages of a training."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from lpnsr.config import StrictConfig
from lpnsr.errors import ConfigError

Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
StageName = Literal["autoencoder", "upsampler", "denoiser", "noise-predictor"]
STAGES: tuple[StageName, ...] = ("autoencoder", "upsampler", "denoiser", "noise-predictor")


class DataRecipe(StrictConfig):
    """Degraded crops: ``pool`` pairs of ``crop`` HR pixels are drawn once and cut into ``patch`` HR pixels in training.

    ``degradations`` gives the odds of the presets of lpnsr.degradation.
    """

    crop: int = 256
    pool: int = 6000
    degradations: Mapping[str, float] = {"real": 1.0}


class GanRecipe(StrictConfig):
    """Hinge GAN: from step ``start`` on, with ``weight`` beside the other losses.

    ``begin_with`` names the stage whose discriminator this one begins as a copy of.
    """

    weight: Weight = 0.1
    start: int = 0
    kind: Literal["feature", "unet", "patch"] = "feature"
    channels: int = 64
    learning_rate: Positive = 5e-4
    begin_with: StageName | None = None


class StageRecipe(StrictConfig):
    """Optimiser, length and loss weights of one stage.

    The denoiser takes its image losses at the timestep indices below ``image_loss_below`` only: left to the latent
    loss alone, the noisiest steps keep to the conditional mean. In a share ``rollout`` of its batches it is given the
    last step's state as its own chain arrives at it.
    """

    steps: int
    batch: int = 16
    patch: int = 128
    learning_rate: Positive = 2e-4
    final_learning_rate: Weight = 1e-6
    warmup: int = 200
    betas: tuple[float, float] = (0.9, 0.99)
    clip: Positive = 1.0
    ema: float = 0.999
    pixel: Weight = 1.0
    lpips: Weight = 1.0
    lattice: Weight = 0.0
    spectrum: Weight = 0.0
    latent: Weight = 0.0
    image_loss_below: int = 10**6
    rollout: Annotated[float, Field(ge=0, le=1)] = 0.0
    gan: GanRecipe | None = None
    start_from: Mapping[Literal["bicubic", "upsampler"], float] = {"upsampler": 1.0}


class ModelRecipe(StrictConfig):
    """What the exported model folder says of itself; ``inference`` as in its model.json."""

    licence: str = "unknown"
    description: str = ""
    training: str = ""
    inference: Mapping[str, Any] = {}


class Recipe(StrictConfig):
    """The whole file. ``networks`` holds one configuration a part, as ``lpnsr.networks.build`` takes it."""

    seed: int = 0
    networks: dict[str, dict[str, Any]]
    chain: dict[str, Any]
    model: ModelRecipe = ModelRecipe()
    data: DataRecipe = DataRecipe()
    stages: dict[StageName, StageRecipe]


def load_recipe(name: str) -> Recipe:
    """The recipe of a YAML file, or a bundled one by name (``lite``, ``paper``)."""
    bundled = files("lpnsr.training") / "recipes" / f"{name}.yaml"
    path = Path(name) if Path(name).suffix in (".yaml", ".yml") else None
    if path is None and not bundled.is_file():
        raise ConfigError(f"no recipe {name!r}: give lite, paper, or the path of a .yaml file")
    try:
        text = path.read_text(encoding="utf-8") if path else bundled.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"the recipe {name} cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"the recipe {name} is not a mapping of keys to values")
    return Recipe.parse(values, name)
