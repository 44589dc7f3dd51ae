"""Noise predictor, denoiser and decoder together, in a last phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lpnsr.checkpoints import PartName
from lpnsr.training.stages.base import Weight, register_stage
from lpnsr.training.stages.noise_predictor import EndToEndRecipe, NoisePredictorStage


class JointRecipe(EndToEndRecipe):
    """rates: factors of the learning rate by part."""

    rates: Mapping[PartName, Weight] = {"denoiser": 0.2, "autoencoder": 0.2}


@register_stage("joint")
class JointStage(NoisePredictorStage):
    """Tunes what the earlier stages have trained. The encoder stays, so that latents keep their meaning."""

    Recipe = JointRecipe
    recipe: JointRecipe
    trains = ("noise_predictor", "denoiser", "autoencoder")
    needs = ()
    tunes = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        decoder: Any = self.trained["autoencoder"].requires_grad_(False).decoder
        decoder.requires_grad_(True)

    def rates(self) -> Mapping[str, float]:
        return dict(self.recipe.rates.items())
