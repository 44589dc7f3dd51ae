"""Trained parts: from a run's checkpoints to networks, and to a model folder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lpnsr.checkpoints import ChainSettings, InferenceSettings, ModelSpec, PartName, save_folder
from lpnsr.errors import TrainingError
from lpnsr.networks import build
from lpnsr.training.recipe import STAGES, Recipe, StageName

PART_OF: dict[StageName, PartName] = {
    "autoencoder": "autoencoder",
    "upsampler": "upsampler",
    "denoiser": "denoiser",
    "noise-predictor": "noise_predictor",
}


def load_part(recipe: Recipe, name: StageName, run: Path) -> nn.Module:
    """The EMA weights of a finished or running stage. Raises TrainingError where there are none."""
    path = run / name / "checkpoint.pt"
    if not path.exists():
        raise TrainingError(f"{path} is missing: train the stage {name} first, with the same --out")
    part = build(recipe.networks[PART_OF[name]])
    part.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["ema"])
    return part


def export(recipe: Recipe, run: Path, folder: Path) -> None:
    """Write the four parts of a run as a model folder in half precision, in the place of an older one."""
    spec = ModelSpec(
        name=folder.name,
        licence=recipe.model.licence,
        description=recipe.model.description,
        training=recipe.model.training,
        parts={PART_OF[name]: PART_OF[name] for name in STAGES},
        chain=ChainSettings.parse(recipe.chain, "chain"),
        inference=InferenceSettings.parse(recipe.model.inference, "model.inference"),
    )
    parts = {PART_OF[name]: load_part(recipe, name, run) for name in STAGES}
    save_folder(folder, spec, parts, dtype=torch.float16, overwrite=True)
