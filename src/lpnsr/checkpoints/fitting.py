"""Whether the parts of a model fit their roles and each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from torch import nn

from lpnsr.checkpoints.spec import PartName
from lpnsr.errors import CheckpointError
from lpnsr.networks.roles import Autoencoder, ChainNetwork, Upsampler

NEEDED: tuple[PartName, ...] = ("autoencoder", "denoiser")
START_ALONE: set[PartName] = {"upsampler"}
"""Parts of a model without a chain."""
CHAIN: tuple[PartName, ...] = ("denoiser", "noise_predictor")


def check_parts(parts: Mapping[PartName, nn.Module], where: str) -> None:
    """Raise CheckpointError, naming everything that is wrong, unless ``parts`` make a model together."""
    wrong = list(_misplaced(parts)) or list(_misfits(parts))
    if wrong:
        raise CheckpointError(f"the parts of {where} do not make a model: " + "; ".join(wrong))


def _misplaced(parts: Mapping[PartName, nn.Module]) -> Iterator[str]:
    """Yield what is missing, or a network of another role."""
    for name in () if set(parts) == START_ALONE else NEEDED:
        if name not in parts:
            yield f"it has no {name}, which every model needs"
    for name, net in parts.items():
        role = getattr(net, "role", None)
        if role != name:
            what = f", which is a network for the {role}" if role else ""
            yield f"the {name} is a {getattr(net.config, 'type', type(net).__name__)}{what}"


def _misfits(parts: Mapping[PartName, nn.Module]) -> Iterator[str]:
    """Yield what does not fit the autoencoder, every part being in its place."""
    if set(parts) == START_ALONE:
        return
    autoencoder, upsampler = cast(Autoencoder, parts["autoencoder"]), cast(Upsampler | None, parts.get("upsampler"))
    latent = autoencoder.latent_channels
    given = 0 if upsampler is None else upsampler.feature_channels
    if upsampler is not None and upsampler.scale != autoencoder.factor:
        yield f"the upsampler enlarges {upsampler.scale}x, and the autoencoder shrinks {autoencoder.factor}x"
    for name in (name for name in CHAIN if name in parts):
        net = cast(ChainNetwork, parts[name])
        if net.latent_channels != latent:
            yield f"the {name} works on {net.latent_channels} channels, and the autoencoder's latent has {latent}"
        if net.feature_channels not in (0, given):
            yield f"the {name} needs {net.feature_channels} channels of features, and the upsampler gives {given}"
