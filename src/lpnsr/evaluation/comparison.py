"""A page for blind choices between two methods: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Environment, StrictUndefined

from lpnsr.checkpoints.locate import is_model
from lpnsr.errors import ConfigError
from lpnsr.evaluation.files import images_in
from lpnsr.evaluation.pairing import Problem, pair
from lpnsr.evaluation.reports.strips import evenly, strip_of
from lpnsr.evaluation.run import RESERVED
from lpnsr.evaluation.upscaling import upscale_folder
from lpnsr.system.atomic import write_bytes


def write_comparison(
    methods: dict[str, str],
    out: Path,
    lr: Path | None = None,
    *,
    device: str = "auto",
    done: Callable[[], None] | None = None,
) -> list[Problem]:
    """Write the page ``out`` for the two ``methods``, a folder of results or a model each, by their names.

    A model upscales the images of the folder ``lr``. For each image, the page shows the crop in which the methods
    differ most, and that of the input. Returns the files that cannot be compared. Raises ConfigError, CheckpointError,
    OutputError.
    """
    for name in methods:
        if name in RESERVED:
            raise ConfigError(f"{name!r} cannot name a method here; give another, as NAME=...")
    inputs = images_in(lr) if lr else []
    with TemporaryDirectory() as scratch:
        problems, results = [], {}
        for name, source in methods.items():
            if Path(source).is_dir() and not is_model(source):
                results[name] = images_in(Path(source))
                continue
            if not inputs:
                raise ConfigError(f"the model {source} needs inputs: give their folder with --lr")
            made, _, failed = upscale_folder(source, inputs, Path(scratch) / name, device=device, done=done)
            results[name] = made
            problems += failed
        samples, unpaired = pair(results, lr=inputs)
        problems += unpaired
        trials = []
        for sample in evenly([sample for sample in samples if len(sample.sr) == len(methods)]):
            strip = strip_of(sample)
            if strip is not None and {picture.label for picture in strip.pictures} >= set(methods):
                trials.append(asdict(strip))
            else:
                problems.append(Problem(" and ".join(methods), sample.name, "unreadable, or of two sizes", failed=True))
    if not trials:
        raise ConfigError(
            "no picture is in both: " + "; ".join(f"{p.where}: {p.file}: {p.reason}" for p in problems[:4])
        )
    page = files("lpnsr.evaluation.reports").joinpath("comparison.html").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(page)
    write_bytes(out, template.render(data={"methods": list(methods), "trials": trials}).encode())
    return problems
