"""``lpnsr compare``: a page on which people choose blindly between two methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpnsr.apps.cli.common import bars, named


def compare(
    methods: Annotated[
        tuple[str, str],
        typer.Argument(metavar="A B", help="Two folders of results or models, each [NAME=]FOLDER or MODEL."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="PAGE.html", help="Page to write.")],
    lr: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Inputs: models upscale them, and the page shows them.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda, cuda:1, xpu or mps.")] = "auto",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No messages except errors.")] = False,
) -> None:
    """Make a page for blind comparisons: lpnsr compare RESULTS base --lr LR -o page.html

    For each image, the page shows the input and both results, left and right at random. The arrow keys choose. At the
    end the page counts the choices, with an interval, and saves them as JSON. The exit code is 1 if a file could not be
    read or has another size than its counterpart.
    """
    from lpnsr.evaluation.comparison import write_comparison

    with bars(hidden=quiet) as shown:
        task = shown.add_task("upscaling", total=None)
        problems = write_comparison(
            named(methods, "compare", unnamed=True), out, lr, device=device, done=lambda: shown.advance(task)
        )
    for problem in problems:
        level = "error" if problem.failed else "note"
        typer.echo(f"{level}: {problem.where}: {problem.file}: {problem.reason}", err=True)
    if not quiet:
        typer.echo(f"The page: {out}")
    if any(problem.failed for problem in problems):
        raise typer.Exit(1)
