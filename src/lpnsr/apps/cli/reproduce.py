"""``lpnsr reproduce``: the paper's experiments with any model, on any images."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lpnsr.apps.cli.common import bars, named
from lpnsr.errors import ConfigError
from lpnsr.upscaling.options import DEFAULT_MODEL


class What(StrEnum):
    """Names of the experiments."""

    ALL = "all"
    GRID = "grid"
    TABLE1 = "table1"
    TABLE2 = "table2"
    TABLE4 = "table4"
    TABLE6 = "table6"
    FIGURE2 = "figure2"
    ORACLE = "oracle"
    TRADEOFF = "tradeoff"
    MISMATCH = "mismatch"
    SEEDS = "seeds"


_DEFAULT_METRICS = "psnr,ssim,lpips,niqe"


def reproduce(
    experiment: Annotated[What, typer.Argument(help="Experiment, from the paper or additional.")],
    lr: Annotated[
        list[str], typer.Option(metavar="[NAME=]DIR", help="Folder of LR images; repeatable, one table per set.")
    ],
    hr: Annotated[Path, typer.Option(metavar="DIR", help="Folder of their HR images: same stems, 4 times the size.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for the results; an existing run continues.")
    ] = Path("results"),
    model: Annotated[
        str, typer.Option("-n", "--model", help="Model: base, lite, official, a folder or a hub id.")
    ] = DEFAULT_MODEL,
    metrics: Annotated[str, typer.Option(help="Metrics, separated by commas; see lpnsr evaluate.")] = _DEFAULT_METRICS,
    weights: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=FILE", help="Weights of a metric; repeatable.")
    ] = None,
    metric_weights: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the weights of pyiqa's metrics; see lpnsr evaluate.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="For table2: another model, file of a network that spandrel reads, or folder of a method's images.",
        ),
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="For table6: file of a pre-upsampler (any that spandrel reads), or a model folder.",
        ),
    ] = None,
    bicubic_model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="For mismatch: model trained to start from bicubic.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda, xpu or mps.")] = "auto",
    quick: Annotated[
        bool, typer.Option("--quick", help="Only the first four images of each set, and three seeds.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N images of each set.")] = None,
) -> None:
    """Repeat the paper's experiments: lpnsr reproduce table1 --lr LR_DIR --hr HR_DIR -o results

    Writes OUT/EXPERIMENT.md, .json, .csv and plots. A killed run continues with the next image.
    """
    from lpnsr.reproduce.experiments import EXPERIMENTS
    from lpnsr.reproduce.run import ReproductionRequest, reproduce

    options = {"lr": lr, "hr": hr, "out": out, "model": model, "metrics": metrics, "weights": weights}
    options |= {"metric-weights": metric_weights, "method": method, "start": start, "bicubic-model": bicubic_model}
    options |= {"device": device, "quick": quick, "limit": limit}
    defaults = {"model": DEFAULT_MODEL, "metrics": _DEFAULT_METRICS, "device": "auto", "quick": False}
    request = ReproductionRequest(
        lr=_sets(lr),
        hr=hr,
        out=out,
        command=command_line(options, defaults),
        model=model,
        device=device,
        metrics=[name.strip() for name in metrics.split(",") if name.strip()],
        weights=_paths(weights, "weights"),
        metric_weights=metric_weights,
        methods=named(method, "--method"),
        starts=_paths(start, "start"),
        bicubic_model=bicubic_model,
        quick=quick,
        limit=limit,
    )
    names = EXPERIMENTS if experiment is What.ALL else (experiment.value,)
    with bars() as shown:
        task = shown.add_task("loading the model", total=None)

        def update(name: str, what: str, done: int, total: int) -> None:
            if done == 1:
                shown.reset(task, total=total)
            shown.update(task, description=f"{name}, {what}", completed=done, total=total)
            if shown.disable and done * 10 // total > (done - 1) * 10 // total:
                shown.console.print(f"{name}: {done} of {total}")

        failed = reproduce(request, names, update, shown.console.print)
    if failed:
        raise typer.Exit(1)


def command_line(options: dict[str, Any], defaults: dict[str, Any]) -> str:
    """Return the command line of these options, with ``{}`` for the experiment."""
    words: list[str] = []
    for name, value in options.items():
        if value is None or value == defaults.get(name):
            continue
        if value is True:
            words.append(f"--{name}")
            continue
        for one in value if isinstance(value, list) else [value]:
            words += [f"--{name}", str(one)]
    return "lpnsr reproduce {} " + shlex.join(words).replace("{", "{{").replace("}", "}}")


def _sets(texts: list[str]) -> dict[str, Path]:
    sets = _paths(texts, "lr", unnamed=True)
    for name in sets:
        if "/" in name:
            raise ConfigError(f"--lr {name}={sets[name]}: the name of a set is written without a slash")
    return sets


def _paths(texts: list[str] | None, option: str, *, unnamed: bool = False) -> dict[str, Path]:
    return {name: Path(path) for name, path in named(texts, f"--{option}", unnamed=unnamed).items()}
