"""Table 2: against other methods, from folders of their images or by networks that spandrel reads."""

from __future__ import annotations

from pathlib import Path

from lpnsr.errors import ConfigError
from lpnsr.reproduce import paper
from lpnsr.reproduce.cases import Case, Folder, Network, load_network
from lpnsr.reproduce.images import ImageSet
from lpnsr.reproduce.lab import Lab
from lpnsr.reproduce.report import Hypothesis, Report, compare, metric_columns

OURS = "LPNSR"


def make_report(lab: Lab) -> Report:
    """Compare the lab's model with bicubic, the pre-upsampler alone, and the lab's methods."""
    networks = {name: load_network(path, lab.model.device) for name, path in lab.methods.items() if path.is_file()}

    def cases(images: ImageSet) -> list[Case]:
        found: list[Case] = [
            lab.chain("bicubic", start="bicubic", steps=0),
            lab.chain("pre-upsampler alone", steps=0),
            lab.chain(OURS),
        ]
        for name, path in lab.methods.items():
            if name in networks:
                found.append(Network(name, *networks[name], lab.model.device))
            else:
                found.append(Folder(name, _folder_for(path, images, len(lab.sets)), images.pairs[0].hr_path.parent))
        return found

    columns = metric_columns(lab)
    others = list(lab.methods)
    tests = [Hypothesis(f"{OURS} scores better than {name}.", OURS, [name], columns) for name in ["bicubic", *others]]
    tables, claims = compare(lab, cases, columns, tests, paper=paper.TABLE2)
    notes = [
        "InvSR and OSEDiff: run their own programs on the same LR images and give the results as --method "
        "InvSR=FOLDER; their diffusers pipelines are not called from here."
    ]
    if not others:
        notes.insert(0, "No other method was given (--method NAME=FOLDER or NAME=NETWORK_FILE).")
    return Report(
        "table2",
        "Table 2: against other methods",
        f"{OURS} is the model with all its steps and predicted noise, at fidelity 0. Other methods are scored as they "
        "are, without colour fix.",
        tables,
        claims,
        notes=notes,
    )


def _folder_for(path: Path, images: ImageSet, sets: int) -> Path:
    """Find a method's images of one set: in the folder of the set's name, or in ``path`` if there is one set only."""
    if (path / images.name).is_dir():
        return path / images.name
    if sets > 1:
        raise ConfigError(f"{path} has no folder {images.name!r}: with several sets, one of each set's name is needed")
    return path
