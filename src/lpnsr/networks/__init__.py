"""The networks, and the registry by which configurations name them."""

from __future__ import annotations

from lpnsr.networks.bicubic import BicubicConfig, BicubicUpsampler
from lpnsr.networks.compact import CompactConfig, CompactUpsampler
from lpnsr.networks.costs import Cost, chain_flops, cost
from lpnsr.networks.layers.padding import pad_to_multiple
from lpnsr.networks.lite_autoencoder import LiteAutoencoder, LiteAutoencoderConfig
from lpnsr.networks.noise_predictor import NoisePredictor, NoisePredictorConfig
from lpnsr.networks.other_start import OtherStart, OtherStartConfig
from lpnsr.networks.registry import build, describe, network_classes, register_network
from lpnsr.networks.roles import Autoencoder, Denoiser, Guide, Upsampler
from lpnsr.networks.rrdbnet import RRDBNet, RRDBNetConfig
from lpnsr.networks.spandrel_upsampler import SpandrelConfig, SpandrelUpsampler
from lpnsr.networks.swin_unet import SwinUNet, SwinUNetConfig
from lpnsr.networks.vq_autoencoder import VQAutoencoder, VQAutoencoderConfig

__all__ = [
    "Autoencoder",
    "BicubicConfig",
    "BicubicUpsampler",
    "CompactConfig",
    "CompactUpsampler",
    "Cost",
    "Denoiser",
    "Guide",
    "LiteAutoencoder",
    "LiteAutoencoderConfig",
    "NoisePredictor",
    "NoisePredictorConfig",
    "OtherStart",
    "OtherStartConfig",
    "RRDBNet",
    "RRDBNetConfig",
    "SpandrelConfig",
    "SpandrelUpsampler",
    "SwinUNet",
    "SwinUNetConfig",
    "Upsampler",
    "VQAutoencoder",
    "VQAutoencoderConfig",
    "build",
    "chain_flops",
    "cost",
    "describe",
    "network_classes",
    "pad_to_multiple",
    "register_network",
]

register_network("swin_unet", SwinUNetConfig, SwinUNet)
register_network("noise_predictor", NoisePredictorConfig, NoisePredictor)
register_network("vq_autoencoder", VQAutoencoderConfig, VQAutoencoder)
register_network("lite_autoencoder", LiteAutoencoderConfig, LiteAutoencoder)
register_network("bicubic", BicubicConfig, BicubicUpsampler)
register_network("compact", CompactConfig, CompactUpsampler)
register_network("rrdbnet", RRDBNetConfig, RRDBNet)
register_network("spandrel", SpandrelConfig, SpandrelUpsampler)
register_network("other_start", OtherStartConfig, OtherStart)
