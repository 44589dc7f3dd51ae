"""The stages of a training, a file each, and the registry by which recipes name them."""

from lpnsr.training.stages import autoencoder, denoiser, joint, noise_predictor, upsampler
from lpnsr.training.stages.base import STAGES, Parts, Stage, StageRecipe, parse_stage, register_stage

__all__ = [
    "STAGES",
    "Parts",
    "Stage",
    "StageRecipe",
    "autoencoder",
    "denoiser",
    "joint",
    "noise_predictor",
    "parse_stage",
    "register_stage",
    "upsampler",
]
