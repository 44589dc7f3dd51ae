"""``lpnsr reproduce``: the paper's experiments with any model, on any images."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lpnsr.errors import ConfigError
from lpnsr.upscaling.options import DEFAULT_MODEL

if TYPE_CHECKING:
    from rich.progress import Progress


class What(StrEnum):
    """Which experiment."""

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
    experiment: Annotated[What, typer.Argument(help="Which experiment of the paper, or that it lacks.")],
    lr: Annotated[list[str], typer.Option(metavar="[NAME=]DIR", help="LR images; repeatable, a table a set.")],
    hr: Annotated[Path, typer.Option(metavar="DIR", help="Their HR images: same stems, 4 times the size.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Going on is automatic.")] = Path("results"),
    model: Annotated[
        str, typer.Option("-n", "--model", help="base, lite, official, a folder, a hub id.")
    ] = DEFAULT_MODEL,
    metrics: Annotated[str, typer.Option(help="Names with commas; see lpnsr evaluate.")] = _DEFAULT_METRICS,
    weights: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=FILE", help="Weights of a metric; repeatable.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="table2: a folder of another method's images, or its network's file."),
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH", help="table6: a pre-upsampler's file (any of spandrel's), or a model folder."
        ),
    ] = None,
    bicubic_model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="mismatch: a model that was trained to start from bicubic.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="The first four images of a set, three seeds.")] = False,
) -> None:
    """Repeat the paper's experiments: lpnsr reproduce table1 --lr LR_DIR --hr HR_DIR -o results

    Writes OUT/EXPERIMENT.md, .json, .csv and plots. A run that was killed goes on with the next image.
    """
    from lpnsr.reproduce.experiments import EXPERIMENTS
    from lpnsr.reproduce.run import ReproductionRequest, reproduce

    options = {"lr": lr, "hr": hr, "out": out, "model": model, "metrics": metrics, "weights": weights}
    options |= {"method": method, "start": start, "bicubic-model": bicubic_model, "device": device, "quick": quick}
    defaults = {"model": DEFAULT_MODEL, "metrics": _DEFAULT_METRICS, "device": "auto", "quick": False}
    request = ReproductionRequest(
        lr=_sets(lr),
        hr=hr,
        out=out,
        command=command_line(options, defaults),
        model=model,
        device=device,
        metrics=[name.strip() for name in metrics.split(",") if name.strip()],
        weights=_named(weights, "weights"),
        methods=_named(method, "method"),
        starts=_named(start, "start"),
        bicubic_model=bicubic_model,
        quick=quick,
    )
    names = EXPERIMENTS if experiment is What.ALL else (experiment.value,)
    with _Bars() as bars:
        failed = reproduce(request, names, bars.update, bars.say)
    if failed:
        raise typer.Exit(1)


def command_line(options: dict[str, Any], defaults: dict[str, Any]) -> str:
    """The command that these options are of, with ``{}`` for the experiment."""
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
    """NAME=DIR, or DIR, whose own name then is the set's."""
    found: dict[str, Path] = {}
    for text in texts:
        name, separator, place = text.partition("=")
        path = Path(place if separator else text)
        name = name if separator else path.resolve().name
        if not name or name in found or "/" in name or (separator and not place):
            raise ConfigError(
                f"--lr {text}: every set needs a name of its own, without a slash, as in --lr NAME={path.name or 'DIR'}"
            )
        found[name] = path
    return found


def _named(texts: list[str] | None, option: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in texts or []:
        name, separator, place = text.partition("=")
        if not (name and separator and place) or name in found:
            raise ConfigError(f"--{option} {text}: NAME=PATH is needed, every name once")
        found[name] = Path(place)
    return found


class _Bars:
    """Progress on a terminal, a line for every tenth of an experiment elsewhere; on standard error."""

    def __enter__(self) -> _Bars:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        self._bars: Progress = Progress(
            *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
        )
        self._task = self._bars.add_task("loading the model", total=None)
        self._bars.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bars.stop()

    def update(self, experiment: str, what: str, done: int, total: int) -> None:
        if done == 1:
            self._bars.reset(self._task, total=total)
        self._bars.update(self._task, description=f"{experiment}, {what}", completed=done, total=total)
        if self._bars.disable and done * 10 // total > (done - 1) * 10 // total:
            self.say(f"{experiment}: {done} of {total}")

    def say(self, text: str) -> None:
        self._bars.console.print(text)
