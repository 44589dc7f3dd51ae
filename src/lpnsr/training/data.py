"""Photographs -> a pool of degraded pairs -> batches that depend on (seed, step) alone.

pool/manifest.json    every file that was looked at, its SHA-256, the crops taken from it, or why none were
pool/hr.npy, lr.npy   uint8 (N, c, c, 3) and (N, c/4, c/4, 3), decoded and degraded once, memory-mapped
pool/validation.npz   the pairs that no batch holds
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lpnsr.checkpoints.hashes import file_sha256
from lpnsr.degradation import DRAWING_ORDER, degrade
from lpnsr.errors import ImageReadError, TrainingError
from lpnsr.imaging import EXTENSIONS, images_below, read, rgb8
from lpnsr.training.draws import ALONE, Share
from lpnsr.training.recipe import DataRecipe

_SMALLEST = 64  # HR pixels of the shorter side; what is below is passed over
Pixels = NDArray[np.uint8]
log = logging.getLogger(__name__)


def find_images(folders: Sequence[Path]) -> list[Path]:
    """Every image file below ``folders``, sorted. Raises TrainingError if there is none."""
    for folder in folders:
        if not folder.is_dir():
            what = "it is a file: give the folder it is in" if folder.exists() else "there is no such folder"
            raise TrainingError(f"--data {folder}: {what}")
    found = sorted({path for folder in folders for path in images_below(folder)})
    if not found:
        looked = ", ".join(map(str, folders)) or "no folder"
        raise TrainingError(f"no photographs in {looked}: give folders with {', '.join(sorted(EXTENSIONS))} files")
    return found


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
            raise TrainingError(
                f"{path} is missing or damaged ({error}): delete {path.parent}, and the pool is made anew"
            ) from None

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
    with np.load(folder / "validation.npz") as pairs:
        hr, lr = (torch.from_numpy(pairs[name]).permute(0, 3, 1, 2).float() / 255 for name in ("hr", "lr"))
    return hr, lr


def describe_pool(folder: Path) -> str:
    """What the pool in ``folder`` was made of, in a sentence; "" if no pool is there."""
    manifest = folder / "manifest.json"
    if not manifest.exists():
        return ""
    made_of, images = _manifest(manifest)
    crops = [image["crops"] for image in images if image.get("use") == "training"]
    odds = made_of["data"]["degradations"]
    shares = ", ".join(f"{name} {value / sum(odds.values()):.0%}" for name, value in odds.items())
    return f"{sum(crops)} crops of {len(crops)} photographs; degradations: {shares}."


def prepare_pool(images: Sequence[Path], recipe: DataRecipe, seed: int, folder: Path, workers: int = 2) -> None:
    """Make the pool in ``folder``, or see that the one there was made of the same files by the same degradation.

    Raises TrainingError if it was not, or if no photograph is fit for training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.json"
    with ProcessPoolExecutor(workers, get_context("spawn")) as executor:
        digests = list(executor.map(_digest, images, chunksize=16))
        made_of = _made_of(recipe, seed, digests)
        if manifest.exists():
            if _manifest(manifest)[0] != made_of:
                raise TrainingError(
                    f"{folder} was made of other photographs, by another recipe or by another version of the "
                    "degradation: choose another --out, or delete it"
                )
            return
        held = sorted(range(len(images)), key=lambda i: digests[i])[: min(recipe.validation, len(images) // 10)]
        log.info(
            "degrading %d crops of %d photographs; %s kept from training for scores and sample grids",
            recipe.pool,
            len(images) - len(held),
            f"{len(held)} more are" if held else "none are",
        )
        counts = _shares(recipe.pool, [i for i in range(len(images)) if i not in held]) | dict.fromkeys(held, 1)
        jobs = [(images[i], n, recipe, (seed, i)) for i, n in sorted(counts.items())]
        taken = dict(zip(sorted(counts), executor.map(_crops_of, *zip(*jobs, strict=True), chunksize=2), strict=True))
    entries = []
    for index, crops in taken.items():
        use = "validation" if index in held else "training"
        entry: dict[str, Any] = {"file": str(images[index]), "sha256": digests[index]}
        if isinstance(crops, str):
            log.warning("%s: passed over, %s", images[index], crops)
            entries.append(entry | {"passed_over": crops})
        else:
            entries.append(entry | {"crops": len(crops[0]), "use": use})
    good = {index: crops for index, crops in taken.items() if not isinstance(crops, str)}
    training = [crops for index, crops in good.items() if index not in held]
    if not training:
        raise TrainingError(f"none of the {len(images)} photographs can be used: see the reasons above")
    _write(folder, training, [good[index] for index in held if index in good], recipe.crop)
    text = json.dumps({"made_of": made_of, "images": entries}, indent=1)
    _put(manifest, lambda file: file.write(text.encode()))  # last: it says that the pool is whole


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return "unreadable"  # whoever reads it for its crops says why


def _manifest(manifest: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a pool was made of, and its images."""
    try:
        told = json.loads(manifest.read_text(encoding="utf-8"))
        return told["made_of"], told["images"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{manifest} is damaged ({error}): delete {manifest.parent}, and the pool is made anew"
        ) from None


def _made_of(recipe: DataRecipe, seed: int, digests: Sequence[str]) -> dict[str, Any]:
    """All that a pool depends on."""
    presets = {name: recipe.preset(name).model_dump(mode="json") for name in recipe.degradations}
    drawn = {"drawing_order": DRAWING_ORDER, "degradations": presets}
    return {"data": recipe.model_dump(mode="json"), **drawn, "seed": seed, "sha256": list(digests)}


def _shares(total: int, indices: Sequence[int]) -> dict[int, int]:
    """``total`` crops dealt out evenly."""
    counts = np.bincount(np.arange(total) % len(indices), minlength=len(indices))
    return {index: int(n) for index, n in zip(indices, counts, strict=True) if n}


def _write(folder: Path, training: list[Any], held: list[Any], crop: int) -> None:
    for position, name in enumerate(("hr", "lr")):
        pairs = np.concatenate([crops[position] for crops in training])
        _put(folder / f"{name}.npy", lambda file, pairs=pairs: np.save(file, pairs))
    empty = [(np.zeros((0, side, side, 3), np.uint8)) for side in (crop, crop // 4)]
    hr, lr = (np.concatenate([empty[k], *(crops[k] for crops in held)]) for k in (0, 1))
    _put(folder / "validation.npz", lambda file: np.savez(file, hr=hr, lr=lr))


def _put(path: Path, write: Any) -> None:
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            write(file)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise TrainingError(f"{path} cannot be written: {error.strerror or error}") from None


def _crops_of(path: Path, count: int, recipe: DataRecipe, seed: tuple[int, int]) -> tuple[Pixels, Pixels] | str:
    """``count`` degraded crops of one photograph, or why there are none."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        photo = rgb8(read(path))
    except ImageReadError as error:
        return str(error).removeprefix(f"{path}: ")
    if min(photo.shape[:2]) < _SMALLEST:
        return f"{photo.shape[1]} x {photo.shape[0]} px is too small: {_SMALLEST} are needed"
    photo = _at_least(photo, recipe.crop)
    rng = np.random.default_rng(seed)
    names, odds = list(recipe.degradations), np.array(list(recipe.degradations.values()))
    hr, lr = [], []
    for _ in range(count):
        crop = _crop_with_detail(photo, recipe, rng)
        preset = recipe.preset(names[rng.choice(len(names), p=odds / odds.sum())])
        x = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
        y = degrade(x, preset, [int(rng.integers(2**62))])
        hr.append(crop)
        lr.append((y[0] * 255).round().byte().permute(1, 2, 0).numpy())
    return np.stack(hr), np.stack(lr)


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
