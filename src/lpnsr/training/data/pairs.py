"""A pool of degraded pairs -> batches that depend on (seed, step) alone. ``pool`` makes it, ``pictures`` adds to it.

pool/manifest.json     every file that was looked at, its SHA-256, the crops taken from it, or why none were
pool/hr.npy, lr.npy    uint8 (N, c, c, 3) and (N, c/4, c/4, 3), decoded and degraded once, memory-mapped
pool/kind.npy          uint8 (N,): which of the recipe's degradations; the pairs that no stage trains on come last
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lpnsr.errors import TrainingError
from lpnsr.training.data.draws import ALONE, Share

MANIFEST = "manifest.json"
PictureKind = Literal["start", "teacher"]


@dataclass(frozen=True)
class Batch:
    """Pairs, float32, images in [0, 1]. kinds: (B,), the numbers of their degradations.

    start, features: U(lr) (B, 3, H, W) and the feature map (B, f, h, w) of a frozen pre-upsampler that has one.
    teacher: the teacher's picture, like ``hr``.
    """

    hr: Tensor
    lr: Tensor
    kinds: Tensor
    start: Tensor | None = None
    features: Tensor | None = None
    teacher: Tensor | None = None


class PairPool:
    """The pairs of a run, on ``device``: on a GPU the whole pool lies in its memory, on a CPU in the mapped files."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self.folder, self.device = folder, device
        made_of, images = read_manifest(folder)
        self.degradations = list(made_of["data"]["degradations"])
        self.held_out = sum(image["crops"] for image in images if image.get("use") == "validation")
        self.hr, self.lr, self.kinds = (self._load(name) for name in ("hr", "lr", "kind"))
        self.pictures: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """Number of pairs, those that are held out too."""
        return len(self.hr)

    def _load(self, name: str) -> Tensor:
        # Copy-on-write: torch wants writable memory, and nothing writes into it.
        path = self.folder / f"{name}.npy"
        try:
            return torch.from_numpy(np.load(path, mmap_mode="c")).to(self.device)
        except (OSError, ValueError, EOFError) as error:
            raise damaged(path, error) from None

    def add(self, kind: PictureKind) -> None:
        """Give the pictures of ``pictures.fill`` to batches from now on."""
        self.pictures[kind] = self._load(kind)
        if kind == "start" and (self.folder / "features.npy").exists():
            self.pictures["features"] = self._load("features")

    def batch(
        self, seed: int, step: int, size: int, patch: int, pictures: Collection[PictureKind] = (), share: Share = ALONE
    ) -> Batch:
        """The share's pairs of one step, with the pictures that are asked for: hr is (size/processes, 3, patch, patch).

        Without a start they are turned and mirrored at random; a start is that of its own position.
        """
        rng = np.random.default_rng((seed, step))
        turns = (1, 1) if "start" in pictures else (4, 2)
        offsets = (self.hr.shape[1] - patch) // 4 + 1
        highs = (len(self) - self.held_out, offsets, offsets, *turns)
        places = np.stack([rng.integers(0, high, size) for high in highs], 1)[share.rows(size)]
        return self._cut(places.tolist(), patch // 4, pictures)

    def held_out_batches(self, size: int, pictures: Collection[PictureKind] = ()) -> Iterator[Batch]:
        """The whole pairs that are held out, in order."""
        for first in range(len(self) - self.held_out, len(self), size):
            places = [[index, 0, 0, 0, 0] for index in range(first, min(first + size, len(self)))]
            yield self._cut(places, self.lr.shape[1], pictures)

    def _cut(self, places: list[list[int]], side: int, pictures: Collection[PictureKind]) -> Batch:
        def images(source: Tensor, scale: int) -> Tensor:
            # Each in float32 first: autocast on the CPU cannot stack half precision.
            cut = torch.stack([_cut(source, scale, side, *place).float() for place in places]).permute(0, 3, 1, 2)
            return cut / 255 if source.dtype == torch.uint8 else cut

        added: dict[str, Tensor] = {name: images(self.pictures[name], 4) for name in pictures}
        if "start" in pictures and "features" in self.pictures:
            added["features"] = images(self.pictures["features"], 1)
        kinds = self.kinds[[place[0] for place in places]]
        return Batch(images(self.hr, 4), images(self.lr, 1), kinds, **added)


def _cut(source: Tensor, scale: int, side: int, index: int, top: int, left: int, turn: int, flip: int) -> Tensor:
    rows, columns = (slice(start * scale, (start + side) * scale) for start in (top, left))
    cut = torch.rot90(source[index, rows, columns], turn)
    return cut.flip(1) if flip else cut


def validation_pairs(folder: Path) -> tuple[Tensor, Tensor]:
    """hr (n, 3, c, c) and lr (n, 3, c/4, c/4), float32 in [0, 1], held out of the pool in ``folder``; n may be 0."""
    pool = PairPool(folder)
    batches = list(pool.held_out_batches(max(1, pool.held_out)))
    if not batches:
        return torch.zeros(0, 3, *pool.hr.shape[1:3]), torch.zeros(0, 3, *pool.lr.shape[1:3])
    return batches[0].hr, batches[0].lr


def is_whole(folder: Path) -> bool:
    """Whether there is a pool in ``folder`` and not a part of one."""
    return (folder / MANIFEST).exists()


def describe_pool(folder: Path) -> str:
    """Describe the pool in ``folder`` in a sentence; "" if no pool is there."""
    if not is_whole(folder):
        return ""
    made_of, images = read_manifest(folder)
    crops = [image["crops"] for image in images if image.get("use") == "training"]
    odds = made_of["data"]["degradations"]
    shares = ", ".join(f"{name} {value / sum(odds.values()):.0%}" for name, value in odds.items())
    return f"{sum(crops)} crops of {len(crops)} photographs; degradations: {shares}."


def read_manifest(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read the manifest of the pool in ``folder``: its recipe, and its images. Raises TrainingError."""
    manifest = folder / MANIFEST
    try:
        told = json.loads(manifest.read_text(encoding="utf-8"))
        return told["made_of"], told["images"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(manifest, error) from None


def damaged(path: Path, error: Exception) -> TrainingError:
    """Make the TrainingError for a file of a pool that is damaged or missing."""
    return TrainingError(f"{path} is missing or damaged ({error}): delete {path.parent}, and the pool is made anew")
