"""The noise, end to end: the whole chain and the decoder in one graph."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, ClassVar, cast

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lpnsr.checkpoints import PartName
from lpnsr.training.data.draws import Draws
from lpnsr.training.data.pairs import Batch
from lpnsr.training.losses import Outcome
from lpnsr.training.stages.base import ChainRecipe, ChainStage, Positive, chain_noise, register_stage


class EndToEndRecipe(ChainRecipe):
    """enter: the odds of the number of steps with which a batch runs the chain; empty, all of them. checkpointing:
    recompute the steps in the backward pass, to save memory."""

    enter: Mapping[PositiveInt, Positive] = {}
    checkpointing: bool = False


class Recomputed(nn.Module):
    """A denoiser or noise predictor whose activations are computed again in the backward pass."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net: Any = net
        self.feature_channels = net.feature_channels

    def denoise(self, *inputs: Any) -> Tensor:
        return cast(Tensor, checkpoint(self.net.denoise, *inputs, use_reentrant=False))

    def predict(self, *inputs: Any) -> tuple[Tensor, Tensor]:
        return cast("tuple[Tensor, Tensor]", checkpoint(self.net.predict, *inputs, use_reentrant=False))


@register_stage("noise-predictor")
class NoisePredictorStage(ChainStage):
    """Runs the chain from its start to the image, and learns from the losses there."""

    Recipe = EndToEndRecipe
    recipe: EndToEndRecipe
    trains: ClassVar[tuple[PartName, ...]] = ("noise_predictor",)
    needs: ClassVar[tuple[PartName, ...]] = ("autoencoder", "denoiser")
    shows = frozenset({"image", "latent", "truth"})

    def forward(self, batch: Batch, draws: Draws, step: int) -> Outcome:
        restorer = self.restorer()
        if self.recipe.checkpointing and torch.is_grad_enabled():
            restorer.denoiser = Recomputed(restorer.denoiser)
            restorer.noise_predictor = Recomputed(cast(nn.Module, restorer.noise_predictor))
        image, guide = self.start(restorer, batch, draws)
        with torch.no_grad():
            true = restorer.encode(batch.hr)
        x0 = restorer.sample(guide, chain_noise(draws, guide.y0), steps=self._enter(draws))
        return Outcome(batch.hr, lambda: restorer.finish(x0, image, guide), latent=x0, true=true)

    def _enter(self, draws: Draws) -> int | None:
        odds = self.recipe.enter
        if not odds:
            return None
        edges = list(accumulate(odds.values()))
        return list(odds)[bisect_right(edges, draws.chance() * edges[-1], hi=len(edges) - 1)]
