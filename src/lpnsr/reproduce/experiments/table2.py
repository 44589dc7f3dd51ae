"""Table 2: models beside interpolation, networks that spandrel reads, and other methods' images."""

from __future__ import annotations

from pathlib import Path

from lpnsr.checkpoints.locate import is_model
from lpnsr.errors import ConfigError
from lpnsr.evaluation.enlarging import INTERPOLATIONS, load_network
from lpnsr.reproduce import paper
from lpnsr.reproduce.cases import Case, Chain, Folder, Interpolation, Network
from lpnsr.reproduce.images import ImageSet
from lpnsr.reproduce.lab import Lab
from lpnsr.reproduce.model import Model, Setting
from lpnsr.reproduce.report import Hypothesis, Report, claims_of, metric_columns, perceptual, table_of
from lpnsr.reproduce.times import ARITHMETIC, TIME, score_and_time, times_note

OURS, START, X4PLUS = "LPNSR", "LPNSR, start alone", "RealESRGAN_x4plus"


def make_report(lab: Lab) -> Report:
    """Compare the lab's model with its start, interpolation, RealESRGAN_x4plus and the lab's methods."""
    device = lab.model.device
    fixed: list[Case] = [
        *(Interpolation(name) for name in INTERPOLATIONS),
        Network(X4PLUS, *load_network("base", device), device),
        lab.chain(START, steps=0),
        lab.chain(OURS),
    ]
    methods = {name: _made_here(lab, name, given) for name, given in lab.methods.items()}

    def cases(images: ImageSet) -> list[Case]:
        return [*fixed, *(method or _folder(lab, name, images) for name, method in methods.items())]

    columns, judges = metric_columns(lab), perceptual(lab)
    tests = [Hypothesis("The chain looks better than its start.", OURS, [START], judges)]
    tests += [
        Hypothesis(f"{OURS} scores better than {name}.", OURS, [name], columns)
        for name in (*INTERPOLATIONS, X4PLUS, *methods)
    ]
    everywhere = [score_and_time(lab, images, cases(images)) for images in lab.sets]
    return Report(
        "table2",
        "Table 2: against other methods",
        f"{OURS} is the model with all its steps and predicted noise, at fidelity 0, with colour fix. Other methods "
        "are scored as they are.",
        [table_of(scores, [*columns, ARITHMETIC, TIME], paper.TABLE2, intervals=True) for scores in everywhere],
        claims_of(everywhere, tests),
        notes=[
            f"{X4PLUS} is the pre-upsampler of base by itself.",
            times_note(device),
            "InvSR, OSEDiff, StableSR and the like: run their own programs on the same LR images and give the results "
            "as --method InvSR=FOLDER.",
        ],
    )


def _made_here(lab: Lab, name: str, given: str) -> Case | None:
    """Return the case of a method that is run here: a model of this package or a network; None for a folder."""
    path = Path(given)
    if is_model(given):
        model = Model.load(given, str(lab.model.device))
        return Chain(name, model, Setting(steps=model.steps))
    if path.is_file():
        return Network(name, *load_network(path, lab.model.device), lab.model.device)
    return None


def _folder(lab: Lab, name: str, images: ImageSet) -> Folder:
    """Find a method's images of one set: in the folder of the set's name, or in its own if there is one set only."""
    path = Path(lab.methods[name])
    if (path / images.name).is_dir():
        path /= images.name
    elif len(lab.sets) > 1:
        raise ConfigError(f"{path} has no folder {images.name!r}: with several sets, one of each set's name is needed")
    return Folder(name, path, images.pairs[0].hr_path.parent)
