"""A loss is a row of a stage's table: ``{name: lpips, weight: 1.0, from: 300}``. ``register_loss`` adds one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import torch
from pydantic import Field, NonNegativeInt
from torch import Tensor, nn

from lpnsr.errors import ConfigError
from lpnsr.networks.perceptual import LPIPS
from lpnsr.system.config import StrictConfig
from lpnsr.training.losses.view import View
from lpnsr.training.registry import Registry

Subject = Literal["image", "latent", "truth", "codes", "mirrored"]
"""An aspect of a step that a stage shows and a loss looks at; truth is the true latent beside that of the result."""
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class LossRecipe(StrictConfig):
    """A row of the table: the loss's ``name``, its ``weight``, and the step ``from`` which it counts."""

    name: str
    weight: Weight = 1.0
    begin: NonNegativeInt = Field(default=0, alias="from")


@dataclass
class Outcome:
    """The result of one step of a stage, and what it should have been.

    target: image (B, 3, H, W) in [0, 1]. render: makes the result, shaped as the target. latent, true: the latent of
    the result and the true one, (B, c, h, w), whose difference counts in units of ``unit``. codes: the codebook's
    vectors nearest to ``latent``. mirror: makes the result of the mirrored input, mirrored back, without gradients.
    """

    target: Tensor
    render: Callable[[], Tensor]
    latent: Tensor | None = None
    true: Tensor | None = None
    unit: Tensor | None = None
    codes: Tensor | None = None
    mirror: Callable[[], Tensor] | None = None


@dataclass
class Comparison:
    """An outcome as losses see it. Everything is made when a loss first asks for it.

    view: the random view through which perceptual losses see both images. average: mean over the processes, with the
    gradient of this one's part.
    """

    outcome: Outcome
    lpips: LPIPS
    view: View
    average: Callable[[Tensor], Tensor] = field(default=lambda value: value)

    @cached_property
    def result(self) -> Tensor:
        """The result (B, 3, H, W), float32, about [0, 1]."""
        return self.outcome.render().float()

    @property
    def target(self) -> Tensor:
        """The image that the result should be."""
        return self.outcome.target

    @cached_property
    def views(self) -> tuple[Tensor, Tensor]:
        """Result and target through the view, in [-1, 1]."""
        return self.view(self.result), self.view(self.target)

    @cached_property
    def taps(self) -> tuple[list[Tensor], list[Tensor]]:
        """The feature maps of the LPIPS network of both views."""
        fake, real = self.views  # made outside of no_grad, for the gradient of the result
        with torch.no_grad():
            real_taps = self.lpips.taps(real)
        return self.lpips.taps(fake), real_taps

    @property
    def latent(self) -> Tensor:
        """The latent of the result, float32."""
        assert self.outcome.latent is not None
        return self.outcome.latent.float()

    @property
    def true(self) -> Tensor:
        """The true latent, float32."""
        assert self.outcome.true is not None
        return self.outcome.true.float()


class Loss(nn.Module):
    """One loss of a stage.

    looks_at: what a stage has to show for it. adversary: a network that learns against it by ``teach``. balanced: its
    weight is times the ratio of the gradients that the other losses and this one leave at the last layer.
    """

    Recipe: ClassVar[type[LossRecipe]] = LossRecipe
    looks_at: ClassVar[Subject] = "image"

    def __init__(self, recipe: Any, lpips: LPIPS, latent_channels: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.adversary: nn.Module | None = None
        self.balanced = False

    def forward(self, seen: Comparison) -> Tensor:
        """The loss of a step, a mean over the batch: ()."""
        raise NotImplementedError

    def teach(self, seen: Comparison) -> Tensor:
        """The loss of the adversary, a mean over the batch: ()."""
        raise NotImplementedError

    def learns(self, step: int) -> bool:
        """Whether the adversary learns at this step."""
        return self.adversary is not None

    def rests(self, step: int) -> bool:
        """Whether the stage's own parts do not learn at this step."""
        return False


LOSSES: Registry[type[Loss]] = Registry("loss")
Entry = TypeVar("Entry", bound=type[Loss] | Callable[[Comparison], Tensor])


def register_loss(name: str, looks_at: Subject = "image") -> Callable[[Entry], Entry]:
    """Make a function of a ``Comparison``, or a subclass of ``Loss``, the loss ``name`` of recipes: a decorator."""

    def enter(entry: Entry) -> Entry:
        if isinstance(entry, type):
            LOSSES.add(name, entry)
        else:
            call = staticmethod(entry)
            LOSSES.add(name, type(name, (Loss,), {"forward": lambda self, seen: call(seen), "looks_at": looks_at}))
        return entry

    return enter


def parse_losses(rows: Sequence[Mapping[str, Any] | LossRecipe]) -> tuple[LossRecipe, ...]:
    """The rows of a table, each by the configuration of its loss. Raises ConfigError."""
    parsed = []
    for number, row in enumerate(rows):
        if isinstance(row, Mapping):
            where = f"losses.{number}"
            if "name" not in row:
                raise ConfigError(f"{where}: key 'name' is missing")
            row = LOSSES[row["name"]].Recipe.parse(row, where)
        parsed.append(row)
    names = [row.name for row in parsed]
    if len(set(names)) < len(names):
        raise ConfigError(f"losses has a name twice: {', '.join(names)}")
    return tuple(parsed)
