"""``lpnsr degrade``: LR images from HR ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lpnsr.errors import ConfigError, InputError, OutputError

if TYPE_CHECKING:
    from lpnsr.apps.cli.degrade_record import Record
    from lpnsr.degradation import DegradationRecipe


class Preset(StrEnum):
    """Names of the degradations."""

    REAL = "real"
    LIGHT = "light"
    CLASSIC = "classic"


def degrade(
    source: Annotated[Path, typer.Argument(metavar="HR_DIR", help="Folder of sharp photographs, with subfolders.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="LR_DIR", help="Folder for the PNG files.")],
    preset: Annotated[
        Preset | None,
        typer.Option(
            help="real: second-order, as in the paper; light: a decent camera; classic: bicubic.  [default: real]"
        ),
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="YAML file of ranges, instead of --preset.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same seed and file name give the same result.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing files that this call would make differently.")
    ] = False,
) -> None:
    """Make low-resolution images, a quarter of the size, for training and evaluation: lpnsr degrade HR -o LR

    HR images are cropped at the right and bottom to sides that are multiples of 4. Transparency is composited on
    white. A file that cannot be read is reported and skipped, and the exit code is then 1. To continue an interrupted
    call, repeat it; results of another recipe or seed are refused.
    """
    from lpnsr.apps.cli.degrade_record import Record
    from lpnsr.degradation import PRESETS

    if recipe and preset:
        raise ConfigError(f"--recipe {recipe} and --preset {preset.value} exclude each other: give one")
    chosen = _from_file(recipe) if recipe else PRESETS[(preset or Preset.REAL).value]
    tasks = _tasks(source, out)
    _make_folders({out})
    record = Record(out, chosen, seed)
    if not overwrite:
        record.check()
    finished, others = _existing(source, tasks, record)
    if others and not overwrite:
        raise ConfigError(
            f"{others[0]} exists and is not what this call would make, {len(others)} in all: give --overwrite or "
            "another --out"
        )
    todo = [task for task in tasks if task[1] not in finished]
    _make_folders({target.parent for _, target in todo})
    record.write()

    def work(task: tuple[Path, Path]) -> str | None:
        photo, target = task
        try:
            _degrade_file(photo, target, chosen, seed, _name(photo, source), record)
        except InputError as error:
            return str(error)
        return None

    failed = 0
    with _one_thread_each(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for problem in pool.map(work, todo):  # a full disk or Ctrl-C ends it, and what waits is not begun
            if problem:
                failed += 1
                typer.echo(f"error: {problem}", err=True)
    record.write()
    there = f", {len(finished)} of them before" if finished else ""
    typer.echo(f"{len(tasks) - failed} of {len(tasks)} images degraded into {out}{there}", err=True)
    if failed:
        raise typer.Exit(1)


def _name(photo: Path, source: Path) -> str:
    """Return the name that, with the seed, determines the degradation of a photograph."""
    return photo.relative_to(source).as_posix()


def _existing(source: Path, tasks: list[tuple[Path, Path]], record: Record) -> tuple[set[Path], list[Path]]:
    """The targets that are there: those that are finished, and others."""
    there = [(photo, target) for photo, target in tasks if os.path.lexists(target)]

    def is_finished(task: tuple[Path, Path]) -> bool:
        photo, target = task
        with suppress(InputError):
            return record.has(_name(photo, source), photo, target)
        return False

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        known = list(pool.map(is_finished, there))
    finished = {target for (_, target), known_one in zip(there, known, strict=True) if known_one}
    return finished, [target for _, target in there if target not in finished]


def _from_file(path: Path) -> DegradationRecipe:
    from lpnsr.degradation import DegradationRecipe
    from lpnsr.system.config import read_yaml

    return DegradationRecipe.parse(read_yaml(path), str(path))


def _tasks(source: Path, out: Path) -> list[tuple[Path, Path]]:
    """Every image below ``source`` and where its LR goes: the same place below ``out``, as PNG."""
    from lpnsr.imaging import READABLE, images_below, name_key

    if not source.is_dir():
        raise ConfigError(f"{source} is no folder: give one with photographs")
    own = out.resolve()
    if own == source.resolve():
        raise ConfigError(f"--out {out} is the folder of the photographs themselves: choose another")
    photos = [p for p in images_below(source) if own not in p.resolve().parents]
    tasks = [(p, (out / p.relative_to(source)).with_suffix(".png")) for p in photos]
    if not tasks:
        raise ConfigError(f"no images below {source}; looked for {', '.join(READABLE)}")
    names: dict[str, Path] = {}
    for photo, target in tasks:
        earlier = names.setdefault(name_key(target), photo)
        if earlier != photo:
            raise ConfigError(f"{earlier} and {photo} would both become {target}: rename one")
    return tasks


def _make_folders(folders: set[Path]) -> None:
    from lpnsr.system.atomic import remove_leftovers

    for folder in sorted(folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder} cannot be made: {error.strerror or error}; choose another --out") from None
        remove_leftovers(folder)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Files are worked at side by side; more threads within each would only get into each other's way."""
    import cv2
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def _degrade_file(photo: Path, target: Path, recipe: DegradationRecipe, seed: int, name: str, record: Record) -> None:
    import torch

    from lpnsr.degradation import degrade
    from lpnsr.evaluation.files import content_hash
    from lpnsr.imaging import (
        Photo,
        format_of,
        read,
        rgb8,
    )
    from lpnsr.imaging.writing import encode
    from lpnsr.system.atomic import write_bytes

    photo_hash = content_hash(photo)
    pixels = rgb8(read(photo))
    height, width = (side // recipe.scale * recipe.scale for side in pixels.shape[:2])
    if not height or not width:
        raise InputError(f"{photo}: {pixels.shape[1]} x {pixels.shape[0]} px is too small; {recipe.scale} are needed")
    hr = torch.from_numpy(pixels[:height, :width]).permute(2, 0, 1)[None].float() / 255
    digest = hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()
    lr = degrade(hr, recipe, [int.from_bytes(digest[:7])])
    small = Photo((lr[0] * 255).round().byte().permute(1, 2, 0).numpy())
    result = encode(small, format_of(target), str(target))
    record.put(name, photo_hash, result)
    write_bytes(target, result)
