"""Cases, the rows of a table: each makes an image of a pair, and names all that decides the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from lpnsr.errors import InputError
from lpnsr.evaluation.enlarging import INTERPOLATIONS, network_flops, run_network
from lpnsr.evaluation.files import images_in
from lpnsr.evaluation.pairing import match
from lpnsr.evaluation.upscaling import FACTOR
from lpnsr.reproduce.images import Pair, digest_of, read_image
from lpnsr.reproduce.model import Model, Restoration, Setting, timed


class Case(Protocol):
    """A way to make an image. label: the row's name in its table."""

    @property
    def label(self) -> str: ...

    def identity(self, pair: Pair) -> dict[str, object]:
        """Return all that decides the image, equal for cases that cannot differ."""

    def make(self, pair: Pair) -> Restoration:
        """Make the image. Raises ConfigError or InputError if it cannot be made."""

    def seconds(self, pair: Pair) -> float | None:
        """Measure the time of making the image, without colour fix; None for images that are made elsewhere."""

    def mflop(self) -> float | None:
        """Count the arithmetic for an LR pixel; None if it is not known."""


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

    def seconds(self, pair: Pair) -> float:
        return self.model.seconds(pair.lr, pair.hr, self.setting)

    def mflop(self) -> float | None:
        return self.model.mflop(self.setting)


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

    def seconds(self, pair: Pair) -> None:
        return None

    def mflop(self) -> None:
        return None


@dataclass(frozen=True)
class Interpolation:
    """An interpolation of ``INTERPOLATIONS``, rounded to 8 bits."""

    label: str

    def identity(self, pair: Pair) -> dict[str, object]:
        return {"interpolation": self.label, "version": 1}

    def make(self, pair: Pair) -> Restoration:
        return Restoration(pair.lr, pair.hr, self._enlarge(pair).float() / 255)

    def seconds(self, pair: Pair) -> float:
        return timed(lambda: self._enlarge(pair), torch.device("cpu"))

    def mflop(self) -> None:
        return None

    def _enlarge(self, pair: Pair) -> Tensor:
        pixels = pair.bytes_lr.permute(1, 2, 0).numpy()
        height, width = (FACTOR * side for side in pixels.shape[:2])
        return torch.from_numpy(INTERPOLATIONS[self.label](pixels, (height, width))).permute(2, 0, 1)


@dataclass(frozen=True)
class Network:
    """Another method's network (lr (B, 3, h, w) -> (B, 3, 4h, 4w) in [0, 1]), run here as it is, without colour fix."""

    label: str
    net: nn.Module
    digest: str
    device: torch.device

    def identity(self, pair: Pair) -> dict[str, object]:
        return {"network": self.digest, "device": self.device.type}

    def make(self, pair: Pair) -> Restoration:
        hr, lr = pair.hr, pair.lr
        return Restoration(lr, hr, run_network(self.net, lr, self.device))

    def seconds(self, pair: Pair) -> float:
        lr = pair.lr
        return timed(lambda: run_network(self.net, lr, self.device), self.device)

    def mflop(self) -> float:
        return network_flops(self.net, self.device) / 1e6


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

    def seconds(self, pair: Pair) -> None:
        return None

    def mflop(self) -> None:
        return None

    @cached_property
    def _files(self) -> Mapping[Path, Path]:
        return match(images_in(self.path), images_in(self.hr), self.label, "HR")[0]

    def _file(self, pair: Pair) -> Path:
        file = self._files.get(pair.hr_path)
        if file is None:
            raise InputError(f"{self.path} has no image for {pair.hr_path.name}, or several: give one of that name")
        return file
