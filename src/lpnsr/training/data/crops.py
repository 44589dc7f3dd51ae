"""Folders -> photographs -> crops with detail in them, each with what a degradation makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lpnsr.degradation import degrade
from lpnsr.errors import ImageReadError, TrainingError
from lpnsr.imaging import READABLE, images_below, read, rgb8
from lpnsr.training.data.recipe import DataRecipe

SMALLEST = 64  # HR pixels of the shorter side; what is below is passed over
Pixels = NDArray[np.uint8]


def find_images(folders: Sequence[Path], out: Path) -> list[Path]:
    """Every image file below ``folders`` that no run has made, sorted. Raises TrainingError if there is none."""
    for folder in folders:
        if not folder.is_dir():
            what = "it is a file: give the folder it is in" if folder.exists() else "there is no such folder"
            raise TrainingError(f"--data {folder}: {what}")
        if folder.resolve() == out.resolve():
            raise TrainingError(f"--out {out} is the folder of the photographs: choose another")
    below = {path for folder in folders for path in images_below(folder)}
    found = sorted(path for path in below if not _is_sample_grid(path) and out.resolve() not in path.resolve().parents)
    if not found:
        looked = ", ".join(map(str, folders)) or "no folder"
        raise TrainingError(f"no photographs in {looked}: give folders with {', '.join(sorted(READABLE))} files")
    return found


def _is_sample_grid(path: Path) -> bool:
    """Whether a run has made it: RUN/STAGE/samples/step-NUMBER.png, beside what it has told TensorBoard."""
    named = path.parent.name == "samples" and path.stem.removeprefix("step-").isdecimal()
    return named and (path.parent.parent / "tensorboard").is_dir()


def crops_of(path: Path, count: int, recipe: DataRecipe, seed: tuple[int, ...]) -> tuple[Pixels, Pixels, Pixels] | str:
    """HR (count, c, c, 3), LR (count, c/4, c/4, 3) and the degradations' numbers (count,) of one photograph, or why
    there are none."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        photo = rgb8(read(path))
    except ImageReadError as error:
        return str(error).removeprefix(f"{path}: ")
    if min(photo.shape[:2]) < SMALLEST:
        return f"{photo.shape[1]} x {photo.shape[0]} px is too small: {SMALLEST} are needed"
    photo = _at_least(photo, recipe.crop)
    rng = np.random.default_rng(seed)
    names, odds = list(recipe.degradations), np.array(list(recipe.degradations.values()))
    hr, lr, kinds = [], [], []
    for _ in range(count):
        crop = _turned(_crop_with_detail(photo, recipe, rng), rng)
        kinds.append(int(rng.choice(len(names), p=odds / odds.sum())))
        preset = recipe.preset(names[kinds[-1]])
        x = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
        y = degrade(x, preset, [int(rng.integers(2**62))])
        hr.append(crop)
        lr.append((y[0] * 255).round().byte().permute(1, 2, 0).numpy())
    return np.stack(hr), np.stack(lr), np.array(kinds, np.uint8)


def _turned(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """One of the eight positions of a square."""
    crop = np.rot90(crop, int(rng.integers(4)))
    return np.ascontiguousarray(crop[:, ::-1] if rng.integers(2) else crop)


def _at_least(photo: Pixels, side: int) -> Pixels:
    """A photograph that is too small for a crop, continued by reflection."""
    missing = [(0, max(0, side - length)) for length in photo.shape[:2]]
    return np.pad(photo, [*missing, (0, 0)], mode="reflect") if any(after for _, after in missing) else photo


def _crop_with_detail(photo: Pixels, recipe: DataRecipe, rng: np.random.Generator) -> Pixels:
    """The most detailed of the candidates, each a part of the photograph at a reduction of its own."""
    size = (recipe.crop, recipe.crop)
    parts = [_random_part(photo, recipe, rng) for _ in range(recipe.candidates)]
    part = max(parts, key=lambda part: _detail(part, size))
    if part.shape[:2] == size:
        return np.ascontiguousarray(part)
    pixels = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)[None]
    return F.interpolate(pixels, size, mode="bicubic", antialias=True)[0].permute(1, 2, 0).contiguous().numpy()


def _random_part(photo: Pixels, recipe: DataRecipe, rng: np.random.Generator) -> Pixels:
    """A square of ``photo`` that a crop is made of. Small photographs are reduced less, so that places differ."""
    shorter = min(photo.shape[:2])
    low, high = (max(share, recipe.crop / shorter) for share in recipe.reduction)
    side = min(round(recipe.crop / rng.uniform(low, high)), shorter)
    top, left = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
    return photo[top : top + side, left : left + side]


def _detail(part: Pixels, size: tuple[int, int]) -> float:
    """The mean squared error of the crop's reduction to LR size and back: what a network would have to supply."""
    grey = cv2.cvtColor(cv2.resize(part, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.float32)
    lr = cv2.resize(grey, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return float(np.square(cv2.resize(lr, size, interpolation=cv2.INTER_CUBIC) - grey).mean())
