"""The inputs of a batch and the names of its results, settled before anything starts."""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from lpnsr.errors import ConfigError, LpnsrWarning
from lpnsr.imaging import EXTENSIONS, FORMATS, READABLE, left_out, name_key
from lpnsr.upscaling.batch import Task

COMPARE = ".compare.png"
"""Ending of the names of before/after pictures."""


@dataclass(frozen=True)
class Naming:
    """Names of results. output: a folder, or a file for one image. ext: auto or an extension."""

    output: str
    suffix: str = ""
    ext: str = "auto"
    compare: bool = False


class Plan(NamedTuple):
    """Tasks of a batch. passed_over: files that were found, and are earlier results of other inputs. left_out: a
    sentence about files in the folders that are no images, or None.
    """

    tasks: list[Task]
    passed_over: list[Path]
    left_out: str | None = None


@dataclass(frozen=True)
class _Found:
    source: Path
    relative: Path  # its place below the output folder
    named: bool = False  # given by its own name, not found in a folder or by a pattern


def plan(inputs: list[str], naming: Naming, *, recursive: bool = False, skip_existing: bool = False) -> Plan:
    """The tasks for files, folders and patterns, in the order given and natural order within.

    A path that does not exist becomes a task too, so that it is reported without stopping the others. What is found
    and is a result of another input is passed over: NAME_x4 beside NAME where results named so go, and a before/after
    picture beside its image. What is given by name is an input, whatever it is called; with ``skip_existing`` only if
    it is not the very file that another input would be written to, for then a shell's pattern can be given again.
    Raises ConfigError if there is nothing to do, if two inputs would be written to one file, if a result would replace
    an input, or for a URL.
    """
    check_suffix(naming)
    _check_no_urls([*inputs, naming.output])
    others: list[Path] = []
    expanded = {text: _expand(text, Path(naming.output), recursive, others) for text in inputs}
    found = [item for items in expanded.values() for item in items]
    if found:  # what matches nothing is reported as a missing file, and the others go on
        found = [
            item
            for text, items in expanded.items()
            for item in items or [_Found(Path(text), Path(Path(text).name), True)]
        ]
    if not found:
        raise nothing_found(inputs, recursive, left_out(others))
    found = _once(found)
    results = [*_results(found, naming), *_results_elsewhere(found, naming)]
    found = [item for item in found if item.named or item not in results]
    if skip_existing:
        there = {_identity(path) for task in _tasks(found, inputs, naming) for path in task.written} - {None}
        found = [item for item in found if item not in results or _identity(item.source) not in there]
    tasks = _tasks(found, inputs, naming)
    _check_collisions(tasks)
    _check_inputs_are_safe(tasks, {item.source for item in results})
    return Plan(tasks, [item.source for item in results if item not in found], left_out(others))


def check_suffix(naming: Naming) -> None:
    """Raise ConfigError for a suffix that is no part of a name."""
    if "/" in naming.suffix or os.sep in naming.suffix:
        raise ConfigError(f"--suffix {naming.suffix!r}: it is a part of the file's name, so it cannot hold a slash")


def _check_no_urls(names: list[str]) -> None:
    for name in names:
        if "://" in name and not os.path.lexists(name):
            raise ConfigError(f"{name} is a URL; only --engine ray reads and writes these")


def nothing_found(inputs: list[str], recursive: bool, others: str | None = None) -> ConfigError:
    """The error for inputs without an image."""
    hint = "" if recursive else " (--recursive enters the folders in folders)"
    hint += f"; {others}" if others else ""
    return ConfigError(f"no images in {', '.join(inputs)}{hint}; images end in {', '.join(READABLE)}")


def natural_key(path: Path) -> list[list[tuple[int, int, str]]]:
    """Sort key: photo2 before photo10, whatever the case."""
    return [
        [
            (0, int(piece), "") if piece.isdecimal() else (1, 0, piece)
            for piece in re.split(r"(\d+)", part.casefold())
            if piece
        ]
        for part in (*path.parts, path.name)
    ]


def _expand(text: str, output: Path, recursive: bool, others: list[Path]) -> list[_Found]:
    path = Path(text)
    if _is_dir(path):
        return _images_below(path, output, recursive, others)
    if not os.path.lexists(path) and glob.has_magic(text):
        matches = sorted(map(Path, _globbed(text)), key=natural_key)
        inside = [match for match in matches if not _same(match, output)]
        return [
            replace(item, named=False) for match in inside for item in _expand(str(match), output, recursive, others)
        ]
    return [_Found(path, Path(path.name), named=True)]


def _globbed(pattern: str) -> list[str]:
    """Find what matches ``pattern``. A folder that exists counts as its name, brackets and all."""
    parts = Path(pattern).parts
    fixed = 0
    while fixed < len(parts) and os.path.lexists(Path(*parts[: fixed + 1])):
        fixed += 1
    escaped = [glob.escape(part) for part in parts[:fixed]]
    return glob.glob(str(Path(*escaped, *parts[fixed:])), recursive=True)  # noqa: PTH207 (it may be absolute)


def _images_below(folder: Path, output: Path, recursive: bool, others: list[Path]) -> list[_Found]:
    """The images of a folder, by extension; hidden ones and, inside it, the output folder are left out.

    Files that are no images are added to ``others``.
    """

    def tell(error: OSError) -> None:
        text = f"{error.filename}: the folder cannot be read ({error.strerror}) and is left out"
        warnings.warn(text, LpnsrWarning, stacklevel=2)

    found = []
    for root, folders, names in os.walk(folder, onerror=tell):
        here = Path(root)
        folders[:] = [name for name in folders if recursive and name[0] != "." and not _same(here / name, output)]
        for name in names:
            if name[0] == ".":
                continue
            if Path(name).suffix.lower() not in READABLE:
                others.append(here / name)
            else:
                found.append(_Found(here / name, (here / name).relative_to(folder)))
    return sorted(found, key=lambda item: natural_key(item.relative))


def _once(found: list[_Found]) -> list[_Found]:
    """Each file once a place below the output folder; named if it was ever named."""
    unique: dict[tuple[str, Path], _Found] = {}
    for item in found:
        known = unique.setdefault((os.path.realpath(item.source), item.relative), item)
        unique[os.path.realpath(item.source), item.relative] = replace(item, named=item.named or known.named)
    return list(unique.values())


def _results(found: list[_Found], naming: Naming) -> list[_Found]:
    """Those that a batch whose results lie among its inputs wrote when it was called before."""
    names: dict[str, set[str]] = {}
    for item in found:
        beside = names.setdefault(os.path.realpath(item.source.parent), set())
        beside |= {item.source.name, item.source.stem}
    return [item for item in found if _is_result(item, names, naming)]


def _results_elsewhere(found: list[_Found], naming: Naming) -> list[_Found]:
    """Find results in inner folders: they have the place and name of an input in a folder above, and a note of their
    settings. GIF and BMP files hold no note; of them, names that end in the suffix count.
    """
    from lpnsr.upscaling.provenance import settings_in

    def root(item: _Found) -> Path:
        return item.source.parents[len(item.relative.parts) - 1]

    places = {(root(item), item.relative.parent.parts, item.source.stem) for item in found}

    def has_namesake(item: _Found, stems: list[str]) -> bool:
        inner, above = item.relative.parent.parts, root(item)
        outer = {inner[:start] + inner[end:] for end in range(1, len(inner) + 1) for start in range(end)}
        return any((above, parts, stem) in places for parts in outer for stem in stems)

    def is_result(item: _Found) -> bool:
        stem, form = item.source.stem, EXTENSIONS.get(item.source.suffix.lower())
        if form and "exif" not in FORMATS[form].holds:
            ends = _is_marked(naming) and stem.endswith(naming.suffix)
            return ends and has_namesake(item, [stem.removesuffix(naming.suffix)])
        begins = [stem[:end] for end in range(1, len(stem) + 1)]
        return has_namesake(item, begins) and settings_in(item.source) is not None

    return [item for item in found if item.relative.parent.parts and not item.named and is_result(item)]


def _is_marked(naming: Naming) -> bool:
    """Whether the suffix tells results from inputs: photo12 is no result of photo1 and the suffix 2."""
    return bool(naming.suffix) and not naming.suffix[0].isalnum()


def _is_result(item: _Found, names: dict[str, set[str]], naming: Naming) -> bool:
    beside = names[os.path.realpath(item.source.parent)]
    compared = item.source.name.removesuffix(COMPARE)
    if compared != item.source.name and compared in beside:
        return True
    stem = item.source.stem if compared == item.source.name else compared
    if Path(stem).suffix.lower() in EXTENSIONS and compared != item.source.name:
        stem = Path(stem).stem  # of NAME.jpg.compare.png, written before NAME.jpg when the batch was killed
    here = _same(item.source.parent, Path(naming.output) / item.relative.parent)
    return here and _is_marked(naming) and stem.endswith(naming.suffix) and stem.removesuffix(naming.suffix) in beside


def _same(a: Path, b: Path) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)


def _is_dir(path: Path | str) -> bool:
    """False also for names that no file can have, of which ``Path.is_dir`` raises what the system says."""
    return os.path.isdir(path)  # noqa: PTH112


def _names_a_file(output: str) -> bool:
    return not output.endswith(("/", os.sep)) and not _is_dir(output) and Path(output).suffix != ""


def _tasks(found: list[_Found], inputs: list[str], naming: Naming) -> list[Task]:
    if len(found) == 1 and not _is_dir(inputs[0]) and _names_a_file(naming.output):
        tasks = [_as_file(found[0], naming)]
    else:
        tasks = [_in_folder(item, naming) for item in found]
    return _with_compare(tasks) if naming.compare else tasks


def _as_file(item: _Found, naming: Naming) -> Task:
    target = Path(naming.output)
    if naming.suffix or naming.ext != "auto":
        raise ConfigError(f"-o {target} names the result in full; --suffix and --ext need a folder there")
    if target.suffix.lower() not in EXTENSIONS:
        raise ConfigError(
            f"-o {target}: {target.suffix} is no format that can be written; use one of {', '.join(EXTENSIONS)}, "
            "or end the name with / if it is a folder"
        )
    return Task(item.source, target)


def _in_folder(item: _Found, naming: Naming) -> Task:
    folder = Path(naming.output)
    if os.path.lexists(folder) and not _is_dir(folder):
        raise ConfigError(f"-o {folder} is a file; several inputs need a folder")
    if not _is_dir(folder) and folder.suffix.lower() in EXTENSIONS:
        raise ConfigError(f"-o {folder} names one file; several inputs or a folder need a folder")
    return Task(item.source, folder / result_name(item.relative, naming))


def result_name(relative: Path, naming: Naming) -> Path:
    """The place below the output folder of the result of the image ``relative``. Raises ConfigError."""
    extension = "." + naming.ext.lower().removeprefix(".")
    if naming.ext == "auto":
        extension = relative.suffix if relative.suffix.lower() in EXTENSIONS else ".png"
    elif extension not in EXTENSIONS:
        raise ConfigError(f"--ext {naming.ext}: choose auto, {', '.join(e[1:] for e in EXTENSIONS)}")
    return relative.with_name(relative.stem + naming.suffix + extension)


def _with_compare(tasks: list[Task]) -> list[Task]:
    """Name the before/after pictures: x.compare.png for x.jpg, or x.jpg.compare.png where there is an x.png too."""
    stems = Counter(task.target.with_suffix("") for task in tasks)
    return [
        replace(task, compare=target.with_name((target.stem if stems[stem] == 1 else target.name) + COMPARE))
        for task in tasks
        for target, stem in [(task.target, task.target.with_suffix(""))]
    ]


def _check_collisions(tasks: list[Task]) -> None:
    writers: dict[str, Path] = {}
    for task in tasks:
        for path in task.written:
            key = name_key(path)
            if key in writers:
                raise ConfigError(
                    f"{writers[key]} and {task.source} would both be written to {path}; rename one of them, or use "
                    "separate output folders"
                )
            writers[key] = task.source


def _check_inputs_are_safe(tasks: list[Task], results: set[Path]) -> None:
    inputs = {found: task.source for task in tasks if (found := _identity(task.source))}
    for task in tasks:
        for path in task.written:
            identity = _identity(path)
            replaced = inputs.get(identity) if identity else None
            if replaced is not None:
                hint = "choose another folder or a --suffix"
                if replaced in results:
                    hint += "; if it is an earlier result, give the folder or a quoted pattern, or --skip-existing"
                raise ConfigError(f"{path} would overwrite the input {replaced}; {hint}")


def _identity(path: Path) -> tuple[int, int] | None:
    """A value that is equal for two paths of one file, through links too."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
