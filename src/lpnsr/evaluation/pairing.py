"""Pairing of SR and LR files with HR files, by name.

A file belongs to the reference whose name it has; else to the one whose name it has without what tools append
(``_x4``, ``x4``, ``_SR``, ``_out``, ``_HR``, ``_LR4``, ...); else to the one that is alike when both are without; else
to the longest name that it begins with (``baby_SwinIR-L`` to ``baby``). Case and extension do not matter. What
is not clear is a problem to report, never a guess.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_APPENDED = re.compile(
    r"(?:x[2-8]|[_\-. ]+(?:x\d|\dx|srf[_\-]?\d|[sh]r|lr\d?|gt|[hl]q|out|output|result|rlt|upscaled|enhanced|restored))$"
)


@dataclass(frozen=True)
class Problem:
    """Something about a file that the user should know. failed: it should have been scored and was not."""

    where: str  # the method's name, HR or LR
    file: str
    reason: str
    failed: bool = False


@dataclass
class Sample:
    """One picture: the file of each method, and those of HR and LR where given."""

    name: str
    hr: Path | None = None
    lr: Path | None = None
    sr: dict[str, Path] = field(default_factory=dict)


def pair(
    sr: Mapping[str, Sequence[Path]], hr: Sequence[Path] = (), lr: Sequence[Path] = ()
) -> tuple[list[Sample], list[Problem]]:
    """Return samples for the files of ``hr``, else of ``lr``, else of the first method, and what did not fit.

    sr: files by the method's name.
    """
    sides = {"HR": hr, "LR": lr, **sr}
    base = next(label for label, files in sides.items() if files)
    references, problems = _unambiguous(sides[base], base)
    samples = {path: Sample(path.stem) for path in references}
    for label, files in sides.items():
        if label == base:
            found = {path: path for path in references}
        elif files:
            found, unpaired = match(files, references, label, base)
            problems += unpaired
        else:
            continue
        for reference, path in found.items():
            if label == "HR":
                samples[reference].hr = path
            elif label == "LR":
                samples[reference].lr = path
            else:
                samples[reference].sr[label] = path
    return list(samples.values()), problems


def match(
    files: Sequence[Path], references: Sequence[Path], label: str, base: str
) -> tuple[dict[Path, Path], list[Problem]]:
    """Return the file of each reference, and a problem for every file and reference that stays alone."""
    if not references:
        return {}, []
    claims: dict[Path, dict[int, list[Path]]] = {}
    problems = []
    for path in files:
        rank, candidates = _candidates(path, references)
        if len(candidates) == 1:
            claims.setdefault(candidates[0], {}).setdefault(rank, []).append(path)
        elif candidates:
            names = ", ".join(c.name for c in candidates)
            problems.append(Problem(label, path.name, f"ambiguous: it may belong to {names} of {base}", failed=True))
        else:
            problems.append(Problem(label, path.name, f"{base} has no image of a like name"))
    found: dict[Path, Path] = {}
    if not any(claims.values()) and not any(problem.failed for problem in problems):
        example = f"{files[0].name} and so on, while {base} has {references[0].name}"
        return found, [Problem(label, f"{len(files)} files", f"no name fits: {example}", failed=True)]
    for reference in references:
        ranks = claims.get(reference, {})
        best = ranks.pop(min(ranks)) if ranks else []
        if len(best) == 1:
            found[reference] = best[0]
            problems += [
                Problem(label, path.name, f"{base} image {reference.name} is paired with {best[0].name} already")
                for others in ranks.values()
                for path in others
            ]
        elif best:
            names = ", ".join(path.name for path in best)
            problems.append(Problem(label, names, f"ambiguous: all may belong to {base} image {reference.name}", True))
        else:
            problems.append(Problem(label, reference.name, f"{base} has this image, and {label} has none for it"))
    return found, problems


def core_name(path: Path) -> str:
    """Return the stem without appended marks, in lower case."""
    return _shortened(_folded(path))[-1]


def _shortened(name: str) -> list[str]:
    """Return the name, and what is left of it as one appended mark after the other is taken away."""
    names = [name]
    while (shorter := _APPENDED.sub("", names[-1])) not in (names[-1], ""):
        names.append(shorter)
    return names


def _candidates(path: Path, references: Sequence[Path]) -> tuple[int, list[Path]]:
    """Return (rank, references) of the best kind of match; rank 0 is an equal name."""
    name, *shorter = _shortened(_folded(path))
    for rank, part in enumerate((name, *shorter)):  # box2_x4 is of box2, though box3 too has the core bo
        equal = [r for r in references if _folded(r) == part]
        if equal:
            return min(rank, 1), equal
    alike = [r for r in references if core_name(r) == core_name(path)]
    if alike:
        return 1, alike
    begun = {r: len(core_name(r)) for r in references if re.match(re.escape(core_name(r)) + r"[^a-z0-9]", name)}
    longest = max(begun.values(), default=0)
    return 2, [r for r, length in begun.items() if length == longest]


def _folded(path: Path) -> str:
    return unicodedata.normalize("NFC", path.stem).casefold()


def _unambiguous(files: Sequence[Path], label: str) -> tuple[list[Path], list[Problem]]:
    """Return references of distinct names, and a problem for those that share one."""
    by_name: dict[str, list[Path]] = {}
    for path in files:
        by_name.setdefault(_folded(path), []).append(path)
    shared = [paths for paths in by_name.values() if len(paths) > 1]
    problems = [
        Problem(label, ", ".join(p.name for p in paths), "ambiguous: they share one name; keep one", failed=True)
        for paths in shared
    ]
    return [paths[0] for paths in by_name.values() if len(paths) == 1], problems
