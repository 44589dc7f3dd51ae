"""The image that the chain starts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lpnsr.training.data.draws import Draws
from lpnsr.training.data.pairs import Batch, PictureKind
from lpnsr.training.losses import Outcome
from lpnsr.training.stages.base import Networks, Parts, Stage, StageRecipe, register_stage

_MIRRORINGS: tuple[Callable[[Tensor], Tensor], ...] = (lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.mT)
"""Of a square batch; each is its own inverse."""


class UpsamplerRecipe(StageRecipe):
    """teacher_for: the degradations whose crops have the teacher's picture for their target, instead of HR."""

    teacher_for: tuple[str, ...] = ()


@register_stage("upsampler")
class UpsamplerStage(Stage):
    """LR to HR in one step."""

    Recipe = UpsamplerRecipe
    recipe: UpsamplerRecipe
    trains = ("upsampler",)
    shows = frozenset({"image", "mirrored"})

    @classmethod
    def pictures(cls, recipe: Any, networks: Networks) -> tuple[PictureKind, ...]:
        if recipe.teacher_for:
            return ("teacher",)
        return ()

    def forward(self, batch: Batch, draws: Draws, step: int) -> Outcome:
        net, mirrored = self.trained["upsampler"], _MIRRORINGS[step % len(_MIRRORINGS)]

        @torch.no_grad()
        def mirror() -> Tensor:
            return mirrored(net(mirrored(batch.lr)))

        return Outcome(self._target(batch), lambda: net(batch.lr), mirror=mirror)

    def _target(self, batch: Batch) -> Tensor:
        if batch.teacher is None:
            return batch.hr
        taught = torch.tensor([name in self.recipe.teacher_for for name in self.degradations], device=batch.hr.device)
        return torch.where(taught[batch.kinds.long()][:, None, None, None], batch.teacher.clamp(0, 1), batch.hr)

    def preview(self, nets: Parts, batch: Batch) -> dict[str, Tensor]:
        return {"upsampler": nets["upsampler"](batch.lr)}
