"""Photographs -> a pool of degraded pairs -> batches that depend on (seed, step) alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpnsr.degradation import PRESETS, degrade
from lpnsr.errors import TrainingError
from lpnsr.training.recipe import DataRecipe

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
_FLAT = 4.0  # mean absolute Laplacian, in 8-bit levels, under which a crop teaches nothing
log = logging.getLogger(__name__)


def find_images(folders: Sequence[Path]) -> list[Path]:
    """Every image file below ``folders``, sorted."""
    found = sorted(p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not found:
        raise TrainingError(f"no images in {', '.join(map(str, folders))}; looked for {sorted(_SUFFIXES)}")
    return found


class PairPool:
    """Degraded pairs as memory-mapped uint8: hr (N, c, c, 3) and lr (N, c/4, c/4, 3), made once in ``folder``."""

    def __init__(self, images: Sequence[Path], recipe: DataRecipe, seed: int, folder: Path, workers: int = 2) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        hr_path, lr_path = folder / "hr.npy", folder / "lr.npy"
        if not lr_path.exists():
            self._build(images, recipe, seed, hr_path, lr_path, workers)
        self.hr: NDArray[np.uint8] = np.load(hr_path, mmap_mode="r")
        self.lr: NDArray[np.uint8] = np.load(lr_path, mmap_mode="r")

    def _build(
        self,
        images: Sequence[Path],
        recipe: DataRecipe,
        seed: int,
        hr_path: Path,
        lr_path: Path,
        workers: int,
    ) -> None:
        counts = np.bincount(np.arange(recipe.pool) % len(images), minlength=len(images))
        jobs = [(path, int(n), recipe, (seed, i)) for i, (path, n) in enumerate(zip(images, counts, strict=True)) if n]
        hr: list[NDArray[np.uint8]] = []
        lr: list[NDArray[np.uint8]] = []
        with ProcessPoolExecutor(workers) as pool:
            for pair in pool.map(_pairs_of, *zip(*jobs, strict=True), chunksize=4):
                if pair is not None:
                    hr.append(pair[0])
                    lr.append(pair[1])
        if not hr:
            raise TrainingError(f"none of the {len(images)} images is at least {recipe.crop} px on both sides")
        for path, arrays in ((hr_path, hr), (lr_path, lr)):
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                np.save(file, np.concatenate(arrays))
            part.replace(path)

    def batch(self, seed: int, step: int, size: int, patch: int) -> tuple[Tensor, Tensor]:
        """The pairs of one step: hr (size, 3, patch, patch) and lr (size, 3, patch/4, patch/4), float32 in [0, 1]."""
        rng = np.random.default_rng((seed, step))
        hr: list[NDArray[np.uint8]] = []
        lr: list[NDArray[np.uint8]] = []
        for index in rng.integers(0, len(self.hr), size):
            top, left = rng.integers(0, (self.hr.shape[1] - patch) // 4 + 1, 2)
            turn, flip = int(rng.integers(4)), bool(rng.integers(2))
            for source, scale, out in ((self.hr, 4, hr), (self.lr, 1, lr)):
                side = patch // 4 * scale
                cut = source[index, top * scale : top * scale + side, left * scale : left * scale + side]
                cut = np.rot90(cut, turn)
                out.append(cut[:, ::-1] if flip else cut)
        return _to_tensor(hr), _to_tensor(lr)

    def batches(self, seed: int, first: int, size: int, patch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from step ``first`` on, without end."""
        step = first
        while True:
            yield self.batch(seed, step, size, patch)
            step += 1


def _to_tensor(arrays: list[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255


def _pairs_of(
    path: Path, count: int, recipe: DataRecipe, seed: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """``count`` degraded crops of one photograph; None where it cannot be read or is too small."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    data = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if data is None or min(data.shape[:2]) < recipe.crop:
        log.warning("%s: passed over (%s)", path, "unreadable" if data is None else f"{data.shape[1]}x{data.shape[0]}")
        return None
    photo = data[..., ::-1].astype(np.uint8)
    rng = np.random.default_rng(seed)
    names, odds = list(recipe.degradations), np.array(list(recipe.degradations.values()))
    hr, lr = [], []
    for _ in range(count):
        crop = _crop_with_content(photo, recipe.crop, rng)
        preset = PRESETS[names[rng.choice(len(names), p=odds / odds.sum())]]
        x = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
        y = degrade(x, preset, [int(rng.integers(2**62))])
        hr.append(crop)
        lr.append((y[0] * 255).round().byte().permute(1, 2, 0).numpy())
    return np.stack(hr), np.stack(lr)


def _crop_with_content(photo: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random crop; flat ones are drawn again up to three times."""
    for _ in range(4):
        top, left = (int(rng.integers(0, side - size + 1)) for side in photo.shape[:2])
        crop = np.ascontiguousarray(photo[top : top + size, left : left + size])
        if np.abs(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_32F)).mean() > _FLAT:
            break
    return crop
