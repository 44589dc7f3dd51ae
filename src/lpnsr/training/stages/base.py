"""A stage trains some parts of a model on batches of the pool. ``register_stage`` adds one.

``Parts`` are networks by the names of parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator
from torch import Tensor, nn

from lpnsr.checkpoints import PartName
from lpnsr.diffusion import Schedule
from lpnsr.diffusion.noise_field import Draw
from lpnsr.errors import ConfigError
from lpnsr.networks import Guide
from lpnsr.networks.perceptual import LPIPS
from lpnsr.system.config import StrictConfig
from lpnsr.training.data.draws import Draws
from lpnsr.training.data.pairs import Batch, PairPool, PictureKind
from lpnsr.training.losses import LOSSES, LossRecipe, Outcome, Subject, parse_losses
from lpnsr.training.registry import Registry
from lpnsr.upscaling.restorer import Restorer

Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Parts = Mapping[str, nn.Module]
Networks = Mapping[PartName, Mapping[str, Any]]


class StageRecipe(StrictConfig):
    """Length, batches, optimiser and losses; what every stage has. Sides in HR pixels.

    ``losses`` is a table with a row a loss: its name, its weight, the step from which it counts, and what else it has.
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
    losses: Annotated[tuple[LossRecipe, ...], Field(min_length=1)]

    @field_validator("losses", mode="before")
    @classmethod
    def _each_by_its_own(cls, rows: object) -> object:
        tabular = isinstance(rows, Sequence) and all(isinstance(row, (Mapping, LossRecipe)) for row in rows)
        return parse_losses(rows) if tabular else rows  # type: ignore[arg-type]


class ChainRecipe(StageRecipe):
    """A stage around a chain. start_from: the odds of a bicubic start and of that of the frozen pre-upsampler."""

    start_from: Mapping[Literal["bicubic", "upsampler"], Weight] = {"upsampler": 1.0}

    @model_validator(mode="after")
    def _starts_somewhere(self) -> ChainRecipe:
        if not sum(self.start_from.values()) > 0:
            raise ValueError("start_from needs odds above 0 for bicubic or upsampler")
        return self

    @property
    def bicubic(self) -> float:
        """Share of samples that start from bicubic."""
        return self.start_from.get("bicubic", 0.0) / sum(self.start_from.values())


class Stage(nn.Module):
    """The parts in training, and the frozen ones around them. A subclass says what it does with a batch.

    trains: its parts; needs: the frozen parts around them; tunes: whether its parts have to be trained already.
    shows: what losses may look at. best: the score that is smallest for the best weights.
    """

    Recipe: ClassVar[type[StageRecipe]] = StageRecipe
    trains: ClassVar[tuple[PartName, ...]]
    needs: ClassVar[tuple[PartName, ...]] = ()
    tunes: ClassVar[bool] = False
    shows: ClassVar[frozenset[Subject]] = frozenset({"image"})
    best: ClassVar[str] = "lpips"

    def __init__(self, recipe: Any, schedule: Schedule, parts: Parts, degradations: Sequence[str]) -> None:
        super().__init__()
        self.recipe, self.schedule, self.degradations = recipe, schedule, degradations
        self.trained = nn.ModuleDict({part: parts[part].train() for part in self.trains})
        frozen = {part: parts[part].requires_grad_(False).eval() for part in parts if part not in self.trains}
        self.frozen = nn.ModuleDict(frozen)

    @classmethod
    def pictures(cls, recipe: Any, networks: Networks) -> tuple[PictureKind, ...]:
        """The pictures that batches have to hold, of a recipe and its section ``networks``."""
        return ()

    def settle(self, networks: Networks, pool: PairPool) -> None:
        """Complete untrained parts by what ``networks``, a recipe's section, leaves to be measured on the pool."""

    def rates(self) -> Mapping[str, float]:
        """Factors of the learning rate by part; 1 where there is none."""
        return {}

    def forward(self, batch: Batch, draws: Draws, step: int) -> Outcome:
        """One step on the share's batch."""
        raise NotImplementedError

    def preview(self, nets: Parts, batch: Batch) -> dict[str, Tensor]:
        """Images of a few pairs with ``nets`` in the place of the parts in training; ``start`` first where there is
        one, the result last."""
        raise NotImplementedError

    def scores(self, nets: Parts, batch: Batch, lpips: LPIPS) -> dict[str, Tensor]:
        """Scores (B,) of the pairs with ``nets`` in the place of the parts in training: PSNR in dB and LPIPS of the
        result, and ``start``, the LPIPS of the start, where there is one."""
        images = {name: image.float().nan_to_num().clamp(0, 1) for name, image in self.preview(nets, batch).items()}
        result = list(images.values())[-1]
        error = (result - batch.hr).square().mean((1, 2, 3)).clamp_min(1e-10)
        found = {"psnr": -10 * error.log10(), "lpips": lpips(result * 2 - 1, batch.hr * 2 - 1)}
        if "start" in images:
            found["start"] = lpips(images["start"] * 2 - 1, batch.hr * 2 - 1)
        return found


class ChainStage(Stage):
    """A stage around a chain, whose start is in the pool."""

    Recipe = ChainRecipe
    recipe: ChainRecipe

    @classmethod
    def pictures(cls, recipe: ChainRecipe, networks: Networks) -> tuple[PictureKind, ...]:
        guided = any(networks[part].get("feature_channels") for part in (*cls.trains, *cls.needs))
        if guided or recipe.bicubic < 1:
            return ("start",)
        return ()

    def restorer(self, nets: Parts | None = None) -> Restorer:
        """The chain, with ``nets`` in the place of the parts in training."""
        chosen = dict(self.frozen.items()) | dict((nets or self.trained).items())
        return Restorer(self.schedule, **chosen)

    @torch.no_grad()
    def start(self, restorer: Restorer, batch: Batch, draws: Draws | None = None) -> tuple[Tensor, Guide]:
        """U(lr) and the guide of a batch; each sample of bicubic or of the pre-upsampler, by the recipe's odds where
        there are ``draws``."""
        image, share = batch.start, self.recipe.bicubic
        if image is None:
            image = restorer.bicubic(batch.lr)
        elif draws is not None and share:
            pick = (draws.uniform(len(batch.lr)) < share).to(image.device)[:, None, None, None]
            image = torch.where(pick, restorer.bicubic(batch.lr), image)
        return restorer.start_at(image, batch.lr, batch.features)

    def preview(self, nets: Parts, batch: Batch) -> dict[str, Tensor]:
        restorer, states = self.restorer(nets), list[Tensor]()
        image, guide = self.start(restorer, batch)
        restorer.sample(guide, chain_noise(Draws(0, 0), guide.y0), callback=lambda state: states.append(state.x0))
        steps = {f"step {count + 1}": restorer.finish(x0, image, guide) for count, x0 in enumerate(states)}
        return {"start": restorer.finish(guide.y0, image, guide)} | steps


def chain_noise(draws: Draws, like: Tensor) -> Draw:
    """The noise of a chain for a batch of latents shaped as ``like``."""
    return lambda step, shape: draws.normal(like)


STAGES: Registry[type[Stage]] = Registry("stage")
Kind = TypeVar("Kind", bound=type[Stage])


def register_stage(name: str) -> Callable[[Kind], Kind]:
    """Make a subclass of ``Stage`` the stage ``name`` of recipes: a decorator."""

    def enter(kind: Kind) -> Kind:
        STAGES.add(name, kind)
        return kind

    return enter


def parse_stage(name: str, values: Mapping[str, Any]) -> StageRecipe:
    """The recipe of a stage by its own configuration. Raises ConfigError."""
    kind = STAGES[name]
    recipe = kind.Recipe.parse(values, f"stages.{name}")
    for row in recipe.losses:
        subject = LOSSES[row.name].looks_at
        if subject not in kind.shows:
            raise ConfigError(f"stages.{name}: the loss {row.name!r} looks at the {subject}, which the stage lacks")
    return recipe
