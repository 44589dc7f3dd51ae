"""``lpnsr evaluate``: scores, intervals, differences and a report."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lpnsr.apps.cli.common import bars, named
from lpnsr.errors import ConfigError

if TYPE_CHECKING:
    from lpnsr.evaluation.results import Evaluation

WHAT, HOW = "Images", "Scoring"
_NARROWEST = 110  # columns of the table
_MOST_PROBLEMS = 20  # printed; the report has all


def evaluate(
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT", help="Folder of the report.", rich_help_panel=WHAT)
    ],
    sr: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]DIR", help="Results of a method; repeatable.", rich_help_panel=WHAT),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-n",
            "--model",
            metavar="[NAME=]MODEL",
            help="Model: base, lite, official, a folder, a hub id; bicubic, lanczos; the file of a 4x network that "
            "spandrel reads; base:start, the pre-upsampler of a model alone. Upscales --lr into OUT/NAME; repeatable.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    hr: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="References. Without them, only no-reference metrics.", rich_help_panel=WHAT),
    ] = None,
    lr: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Inputs. Given alone, they are scored themselves, by no-reference metrics.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SET",
            help="Test set in the layout in which it is published, instead of --lr and --hr: val32-real, "
            "val32-bicubic, realsr, drealsr, imagenet-test, realset65, realset80, div2k-val.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the test set of --data.", rich_help_panel=WHAT)
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="Metrics: psnr, ssim, lpips, niqe (default); lpips-alex, lpips-vgg, dists, fid, pi, clipiqa, musiq, "
            "maniqa, r50. Separated by commas; repeatable.",
            rich_help_panel=HOW,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Protocol of PSNR and SSIM, by default that of --data, else resshift. resshift (Y, 4 px border), "
            "bicubic-y (the same, rounded to 8 bits), "
            "y-noborder, rgb (4 px border), rgb-noborder.",
            rich_help_panel=HOW,
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=FILE",
            help="Weights that are not in the package, for instance r50=FILE; repeatable.",
            rich_help_panel=HOW,
        ),
    ] = None,
    metric_weights: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the weights of pyiqa's metrics, laid out as ~/.cache/torch/hub: nothing is downloaded.",
            rich_help_panel=HOW,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Device: auto, cpu, cuda, cuda:1, xpu or mps.", rich_help_panel=HOW)
    ] = "auto",
    jobs: Annotated[
        int, typer.Option("-j", "--jobs", min=1, help="Number of images scored at a time.", rich_help_panel=HOW)
    ] = 2,
    json: Annotated[
        bool, typer.Option("--json", help="The evaluation as JSON on standard output.", rich_help_panel=HOW)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="No messages except errors.", rich_help_panel=HOW)
    ] = False,
) -> None:
    """Score results against references: lpnsr evaluate --sr RESULTS --hr HR -o report

    Writes report.html, report.md, report.json, scores.csv, means.csv and sheet.png. To continue an interrupted call,
    repeat it. Files are paired by name. Files that cannot be paired or scored are reported. The exit code is 1 if names
    are ambiguous, or if a file of a pair is damaged or has the wrong size. An image without a value for a metric (too
    small, or equal to its reference, where PSNR is infinite) is excluded from that mean. The cell then shows the number
    of images and the reason, and the exit code stays 0.
    """
    from lpnsr.evaluation.run import EvaluationRequest, evaluate

    request = EvaluationRequest(
        out=out,
        sr={name: Path(folder) for name, folder in named(sr, "--sr", unnamed=True).items()},
        models=named(model, "--model", unnamed=True),
        hr=hr,
        lr=lr,
        data=data,
        root=root,
        metrics=[name.strip() for text in metrics for name in text.split(",") if name.strip()] if metrics else None,
        protocol=protocol,
        weights=_weights(weights),
        metric_weights=metric_weights,
        device=device,
        jobs=jobs,
    )
    with bars(hidden=quiet) as shown:

        def watch(name: str, total: int) -> Callable[[], None]:
            task = shown.add_task(name, total=total)
            return lambda: shown.advance(task)

        evaluation = evaluate(request, watch)
    if json:
        print(json_module.dumps(evaluation.as_json()))
    elif not quiet:
        _show(evaluation, out)
    _tell_problems(evaluation)
    if evaluation.failed:
        raise typer.Exit(1)


def _weights(texts: Sequence[str] | None) -> dict[str, Path]:
    files = {name: Path(file) for name, file in named(texts, "--weights").items()}
    for name, file in files.items():
        if not file.is_file():
            raise ConfigError(f"--weights {name}={file}: METRIC=FILE is needed, and the file has to exist")
    return files


def _show(evaluation: Evaluation, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lpnsr.evaluation.reports.tables import TIMING_HEADS, count_text, heading, mean_text, notes, timing_cells

    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.width = max(console.width, _NARROWEST)
    table = Table("method", "images", *map(heading, evaluation.metrics), *evaluation.unavailable)
    for head in TIMING_HEADS if evaluation.timings else ():
        table.add_column(head)
    for method in evaluation.methods:
        intervals = [evaluation.mean(method, metric) for metric in evaluation.metrics]
        cells: list[Text | str] = [Text(method), count_text(intervals)]
        for metric in evaluation.metrics:
            style = "bold" if evaluation.best(metric) == method else ""
            text = mean_text(evaluation, method, metric).replace(" [", "\n[").replace(" (", "\n(")
            cells.append(Text(text, style))
        cells += ["n/a"] * len(evaluation.unavailable)
        if evaluation.timings:
            cells += timing_cells(evaluation, method)
        table.add_row(*cells)
    console.print(table)
    for line in notes(evaluation):
        console.print(line)
    console.print(f"The report: {out / 'report.html'}")


def _tell_problems(evaluation: Evaluation) -> None:
    for problem in sorted(evaluation.problems, key=lambda p: not p.failed)[:_MOST_PROBLEMS]:
        level = "error" if problem.failed else "note"
        typer.echo(f"{level}: {problem.where}: {problem.file}: {problem.reason}", err=True)
    more = len(evaluation.problems) - _MOST_PROBLEMS
    if more > 0:
        typer.echo(f"and {more} more, which the report lists", err=True)
