"""Cases, the rows of a table: each makes an image of a pair, and names all that decides the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from lpnsr.checkpoints import read_spec
from lpnsr.checkpoints.convert import load_upsampler
from lpnsr.checkpoints.folder import CONFIG, SPEC, WEIGHTS, load_part
from lpnsr.errors import CheckpointError, InputError
from lpnsr.evaluation.files import images_in
from lpnsr.evaluation.pairing import match
from lpnsr.reproduce.images import Pair, digest_of, read_image
from lpnsr.reproduce.model import Model, Restoration, Setting
from lpnsr.system.hashes import file_sha256
from lpnsr.system.tensor_files import read_state_dict


class Case(Protocol):
    """A way to make an image. label: the row's name in its table."""

    @property
    def label(self) -> str: ...

    def identity(self, pair: Pair) -> dict[str, object]:
        """Return all that decides the image, equal for cases that cannot differ."""

    def make(self, pair: Pair) -> Restoration:
        """Make the image. Raises ConfigError or InputError if it cannot be made."""


@dataclass(frozen=True)
class Chain:
    """A model under a setting."""

    label: str
    model: Model
    setting: Setting

    def identity(self, pair: Pair) -> dict[str, object]:
        return {"model": self.model.digest, "device": self.model.device.type, "setting": self.setting.identity()}

    def make(self, pair: Pair) -> Restoration:
        return self.model.restore(pair.lr, pair.hr, self.setting)


@dataclass(frozen=True)
class Ceiling:
    """The result of a chain that ends at the latent of the HR image: the most that a chain of the model can reach."""

    label: str
    model: Model

    def identity(self, pair: Pair) -> dict[str, object]:
        return {"model": self.model.digest, "device": self.model.device.type, "ceiling": 2}

    def make(self, pair: Pair) -> Restoration:
        hr, lr = pair.hr, pair.lr
        return Restoration(lr, hr, self.model.ceiling(lr, hr))


@dataclass(frozen=True)
class Network:
    """Another method's network (lr (B, 3, h, w) -> (B, 3, 4h, 4w) in [0, 1]), run here as it is, without colour fix."""

    label: str
    net: nn.Module
    digest: str
    device: torch.device

    def identity(self, pair: Pair) -> dict[str, object]:
        return {"network": self.digest, "device": self.device.type}

    @torch.inference_mode()
    def make(self, pair: Pair) -> Restoration:
        hr, lr = pair.hr, pair.lr
        sr = self.net(lr[None].to(self.device))[0].float().cpu()
        return Restoration(lr, hr, (sr.clamp(0, 1) * 255).round() / 255)


@dataclass(frozen=True)
class Folder:
    """Another method's images, made elsewhere: ``path`` holds one an image, paired by name with
    those of ``hr``."""

    label: str
    path: Path
    hr: Path

    def identity(self, pair: Pair) -> dict[str, object]:
        return {"image": digest_of(read_image(self._file(pair)))}

    def make(self, pair: Pair) -> Restoration:
        hr, file = pair.hr, self._file(pair)
        sr = read_image(file).float() / 255
        if sr.shape != hr.shape:
            sizes = f"{sr.shape[2]} x {sr.shape[1]} px; the HR image has {hr.shape[2]} x {hr.shape[1]}"
            raise InputError(f"{file} has {sizes}: give the method's 4x results")
        return Restoration(pair.lr, hr, sr)

    @cached_property
    def _files(self) -> Mapping[Path, Path]:
        return match(images_in(self.path), images_in(self.hr), self.label, "HR")[0]

    def _file(self, pair: Pair) -> Path:
        file = self._files.get(pair.hr_path)
        if file is None:
            raise InputError(f"{self.path} has no image for {pair.hr_path.name}, or several: give one of that name")
        return file


def load_network(path: Path, device: torch.device) -> tuple[nn.Module, str]:
    """Load a network lr (B, 3, h, w) -> (B, 3, 4h, 4w), both in [0, 1]; also return a hash of its files.

    ``path``: a checkpoint file of any 4x architecture that spandrel knows, a model folder, whose pre-upsampler is
    taken, or the folder of a pre-upsampler (config.json, model.safetensors). Raises CheckpointError, MissingExtraError.
    """
    if path.is_file():
        net, files = load_upsampler(read_state_dict(path)), [path]
    else:
        folder = _upsampler_of(path)
        net, files = load_part(folder), [folder / CONFIG, folder / WEIGHTS]
    return net.eval().requires_grad_(False).to(device), " ".join(map(file_sha256, files))


def _upsampler_of(path: Path) -> Path:
    if not (path / SPEC).is_file():
        return path
    parts = read_spec(path).parts
    if "upsampler" not in parts:
        raise CheckpointError(f"the model in {path} has no pre-upsampler")
    return path / parts["upsampler"]
