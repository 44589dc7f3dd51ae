"""The mathematics of residual-shifting diffusion; knows no network and no file."""

from lpnsr.diffusion.chain import Denoiser, reverse_chain
from lpnsr.diffusion.noise import (
    GaussianNoise,
    MixedNoise,
    NoiseSource,
    OracleNoise,
    PredictedNoise,
    Predictor,
    StepState,
)
from lpnsr.diffusion.noise_field import Draw, NoiseField, ahead
from lpnsr.diffusion.process import linear_estimate, optimal_noise, posterior_mean, q_mean, q_sample, uncertainty
from lpnsr.diffusion.schedule import Schedule

__all__ = [
    "Denoiser",
    "Draw",
    "GaussianNoise",
    "MixedNoise",
    "NoiseField",
    "NoiseSource",
    "OracleNoise",
    "PredictedNoise",
    "Predictor",
    "Schedule",
    "StepState",
    "ahead",
    "linear_estimate",
    "optimal_noise",
    "posterior_mean",
    "q_mean",
    "q_sample",
    "reverse_chain",
    "uncertainty",
]
