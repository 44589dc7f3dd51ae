"""A pool of degraded pairs -> batches that depend on (seed, step) alone. ``pool`` makes it.

pool/manifest.json    every file that was looked at, its SHA-256, the crops taken from it, or why none were
pool/hr.npy, lr.npy   uint8 (N, c, c, 3) and (N, c/4, c/4, 3), decoded and degraded once, memory-mapped
pool/validation.npz   the pairs that no batch holds
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lpnsr.errors import TrainingError
from lpnsr.training.data.draws import ALONE, Share

MANIFEST = "manifest.json"
VALIDATION = "validation.npz"


class PairPool:
    """The pairs of a run, on ``device``: on a GPU the whole pool lies in its memory, on a CPU in the mapped files."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self.hr, self.lr = (self._load(folder / f"{name}.npy", device) for name in ("hr", "lr"))

    @staticmethod
    def _load(path: Path, device: torch.device | str) -> Tensor:
        # Copy-on-write: torch wants writable memory, and nothing writes into it.
        try:
            return torch.from_numpy(np.load(path, mmap_mode="c")).to(device)
        except (OSError, ValueError, EOFError) as error:
            raise damaged(path, error) from None

    def batch(self, seed: int, step: int, size: int, patch: int, share: Share = ALONE) -> tuple[Tensor, Tensor]:
        """The share's pairs of one step, turned and mirrored at random.

        hr (size/processes, 3, patch, patch) and lr (size/processes, 3, patch/4, patch/4), float32 in [0, 1].
        """
        rng = np.random.default_rng((seed, step))
        places = np.stack([rng.integers(0, high, size) for high in self._highs(patch)], 1)[share.rows(size)]

        def side(source: Tensor, scale: int) -> Tensor:
            cuts = [_cut(source, scale, patch // 4, *place) for place in places.tolist()]
            return torch.stack(cuts).permute(0, 3, 1, 2).float() / 255

        return side(self.hr, 4), side(self.lr, 1)

    def _highs(self, patch: int) -> tuple[int, ...]:
        offsets = (self.hr.shape[1] - patch) // 4 + 1
        return (len(self.hr), offsets, offsets, 4, 2)


def _cut(source: Tensor, scale: int, side: int, index: int, top: int, left: int, turn: int, flip: int) -> Tensor:
    rows, columns = (slice(start * scale, (start + side) * scale) for start in (top, left))
    cut = torch.rot90(source[index, rows, columns], turn)
    return cut.flip(1) if flip else cut


def validation_pairs(folder: Path) -> tuple[Tensor, Tensor]:
    """hr (n, 3, c, c) and lr (n, 3, c/4, c/4), float32 in [0, 1], of the pool in ``folder``; n may be 0."""
    with np.load(folder / VALIDATION) as pairs:
        hr, lr = (torch.from_numpy(pairs[name]).permute(0, 3, 1, 2).float() / 255 for name in ("hr", "lr"))
    return hr, lr


def is_whole(folder: Path) -> bool:
    """Whether there is a pool in ``folder`` and not a part of one."""
    return (folder / MANIFEST).exists()


def describe_pool(folder: Path) -> str:
    """What the pool in ``folder`` was made of, in a sentence; "" if no pool is there."""
    if not is_whole(folder):
        return ""
    made_of, images = read_manifest(folder)
    crops = [image["crops"] for image in images if image.get("use") == "training"]
    odds = made_of["data"]["degradations"]
    shares = ", ".join(f"{name} {value / sum(odds.values()):.0%}" for name, value in odds.items())
    return f"{sum(crops)} crops of {len(crops)} photographs; degradations: {shares}."


def read_manifest(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the pool in ``folder`` was made of, and its images. Raises TrainingError."""
    manifest = folder / MANIFEST
    try:
        told = json.loads(manifest.read_text(encoding="utf-8"))
        return told["made_of"], told["images"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(manifest, error) from None


def damaged(path: Path, error: Exception) -> TrainingError:
    """What to raise for a file of a pool that is damaged, or missing."""
    return TrainingError(f"{path} is missing or damaged ({error}): delete {path.parent}, and the pool is made anew")
