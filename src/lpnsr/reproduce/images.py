"""Pairs of LR and HR images for the experiments: folders -> float tensors and their digests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from lpnsr.errors import ConfigError, InputError
from lpnsr.evaluation.files import images_in
from lpnsr.evaluation.pairing import match
from lpnsr.evaluation.upscaling import FACTOR
from lpnsr.imaging import read, rgb8


@dataclass(frozen=True)
class Pair:
    """An LR image and its HR image, read at every use: a test set may be larger than memory.

    Raises InputError if the sizes disagree, ImageReadError for a damaged file.
    """

    name: str
    lr_path: Path
    hr_path: Path

    @property
    def bytes_lr(self) -> Tensor:
        """uint8 (3, h, w)."""
        return read_image(self.lr_path)

    @property
    def bytes_hr(self) -> Tensor:
        """uint8 (3, 4h, 4w)."""
        hr = read_image(self.hr_path)
        height, width = (FACTOR * side for side in self.bytes_lr.shape[1:])
        if tuple(hr.shape[1:]) != (height, width):
            raise InputError(
                f"{self.hr_path} has {hr.shape[2]} x {hr.shape[1]} px; {self.lr_path} needs one of {width} x {height}, "
                f"{FACTOR} times its own size"
            )
        return hr

    @property
    def lr(self) -> Tensor:
        """Float (3, h, w) in [0, 1]."""
        return self.bytes_lr.float() / 255

    @property
    def hr(self) -> Tensor:
        """Float (3, 4h, 4w) in [0, 1]."""
        return self.bytes_hr.float() / 255

    @cached_property
    def digest(self) -> str:
        """Hash of the pixels of both, whatever the files are called."""
        return digest_of(self.bytes_lr, self.bytes_hr)


@dataclass(frozen=True)
class ImageSet:
    """A test set: its name, and its pairs in the order of their names."""

    name: str
    pairs: tuple[Pair, ...]


def find_pairs(name: str, lr: Path, hr: Path, most: int | None = None) -> ImageSet:
    """Pair the images of the folder ``lr`` with those of a like name in ``hr``, the first ``most`` of them.

    Raises ConfigError if a folder is missing or empty, or an LR image has no HR image.
    """
    low, high = images_in(lr), images_in(hr)
    found, problems = match(low, high, "LR", "HR")
    alone = {path.name for path in low} - {path.name for path in found.values()}
    if alone:
        reasons = [f"{p.file}: {p.reason}" for p in problems if p.file not in {path.name for path in high} - alone]
        raise ConfigError(
            f"{len(alone)} of {len(low)} images in {lr} have no HR image in {hr}. {'; '.join(reasons[:3])}"
        )
    return ImageSet(name, tuple(Pair(ref.stem, path, ref) for ref, path in list(found.items())[:most]))


def read_image(path: Path) -> Tensor:
    """Read an image file as uint8 (3, H, W)."""
    return torch.from_numpy(rgb8(read(path))).permute(2, 0, 1).contiguous()


def digest_of(*images: Tensor) -> str:
    """Hash uint8 images and their shapes."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr(tuple(image.shape)).encode())
        digest.update(image.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
