"""``lpnsr degrade``: LR images from HR ones."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lpnsr.errors import ConfigError, InputError, LpnsrError

if TYPE_CHECKING:
    from lpnsr.degradation import DegradationRecipe


class Preset(StrEnum):
    """Which degradation."""

    REAL = "real"
    LIGHT = "light"
    CLASSIC = "classic"


def degrade(
    source: Annotated[Path, typer.Argument(metavar="HR_DIR", help="Sharp photographs, and all below.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="LR_DIR", help="Where the PNG files go.")],
    preset: Annotated[
        Preset, typer.Option(help="real: the paper's second order; light: a decent camera; classic: bicubic.")
    ] = Preset.REAL,
    recipe: Annotated[Path | None, typer.Option(help="A YAML file of ranges instead.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed and file name, same result.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Make low-resolution images, a quarter of the size, for training and evaluation: lpnsr degrade HR -o LR

    An HR image whose sides are no multiples of 4 is cropped to such at its right and bottom.
    """
    from lpnsr.degradation import PRESETS

    chosen = _from_file(recipe) if recipe else PRESETS[preset.value]
    tasks = _tasks(source, out)
    existing = [target for _, target in tasks if target.exists()]
    if existing and not overwrite:
        raise ConfigError(f"{existing[0]} exists, {len(existing)} in all: give --overwrite or another --out")
    failed = 0
    for photo, target in tasks:
        try:
            _degrade_file(photo, target, chosen, seed, photo.relative_to(source).as_posix())
        except LpnsrError as error:
            failed += 1
            typer.echo(f"error: {error}", err=True)
    typer.echo(f"{len(tasks) - failed} of {len(tasks)} images degraded into {out}", err=True)
    if failed:
        raise typer.Exit(1)


def _from_file(path: Path) -> DegradationRecipe:
    from lpnsr.config import read_yaml
    from lpnsr.degradation import DegradationRecipe

    return DegradationRecipe.parse(read_yaml(path), str(path))


def _tasks(source: Path, out: Path) -> list[tuple[Path, Path]]:
    """Every image below ``source`` and where its LR goes: the same place below ``out``, as PNG."""
    from lpnsr.imaging import EXTENSIONS

    if not source.is_dir():
        raise ConfigError(f"{source} is no folder: give one with photographs")
    if out.resolve() == source.resolve():
        raise ConfigError(f"--out {out} is the folder of the photographs themselves: choose another")
    photos = sorted(p for p in source.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
    tasks = [(p, (out / p.relative_to(source)).with_suffix(".png")) for p in photos if out not in p.parents]
    if not tasks:
        raise ConfigError(f"no images below {source}; looked for {', '.join(sorted(EXTENSIONS))}")
    names: dict[Path, Path] = {}
    for photo, target in tasks:
        if target in names:
            raise ConfigError(f"{names[target]} and {photo} would both become {target}: rename one")
        names[target] = photo
    return tasks


def _degrade_file(photo: Path, target: Path, recipe: DegradationRecipe, seed: int, name: str) -> None:
    import torch

    from lpnsr.degradation import degrade
    from lpnsr.imaging import Photo, read, rgb8, write

    pixels = rgb8(read(photo))
    height, width = (side // recipe.scale * recipe.scale for side in pixels.shape[:2])
    if not height or not width:
        raise InputError(f"{photo}: {pixels.shape[1]} x {pixels.shape[0]} px is too small; {recipe.scale} are needed")
    hr = torch.from_numpy(pixels[:height, :width]).permute(2, 0, 1)[None].float() / 255
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    lr = degrade(hr, recipe, [int.from_bytes(digest[:7])])
    target.parent.mkdir(parents=True, exist_ok=True)
    write(Photo((lr[0] * 255).round().byte().permute(1, 2, 0).numpy()), target)
