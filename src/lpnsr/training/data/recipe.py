"""The section ``data`` of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from lpnsr.degradation import PRESETS, DegradationRecipe
from lpnsr.system.config import StrictConfig

Positive = Annotated[float, Field(gt=0)]
Reduction = Annotated[float, Field(gt=0, le=1)]


class DataRecipe(StrictConfig):
    """Degraded crops: ``pool`` pairs of ``crop`` HR pixels are drawn once and cut into ``patch`` HR pixels in training.

    A crop is cut from the photograph reduced to a random share of its size, within ``reduction`` as far as the
    photograph is large enough, and turned and mirrored at random. Of ``candidates``, each with a place and a share of
    its own, that with most detail is taken, which favours strong reductions. ``degradations`` gives the odds of the
    presets of lpnsr.degradation and of your own under ``presets``, whose keys are those of ``DegradationRecipe``. One
    photograph of ``held_out`` is kept from all stages; about ``validation`` crops of those give the scores. ``teacher``
    is a model, the pre-upsampler of which makes pictures that a stage may take for its targets.
    """

    crop: Annotated[int, Field(ge=64, multiple_of=4)] = 256
    pool: PositiveInt = 6000
    reduction: tuple[Reduction, Reduction] = (1.0, 1.0)
    candidates: PositiveInt = 3
    degradations: Annotated[Mapping[str, Positive], Field(min_length=1)] = {"real": 1.0}
    presets: Mapping[str, DegradationRecipe] = {}
    held_out: PositiveInt = 12
    validation: NonNegativeInt = 64
    teacher: str | None = None

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
