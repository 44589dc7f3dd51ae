"""``lpnsr train``: its options, and the table of ``--dry-run``."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from lpnsr.apps.cli import signals
from lpnsr.errors import ConfigError


class Precision(StrEnum):
    """Arithmetic of the networks."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


def train(
    stage: Annotated[
        str, typer.Argument(help="Stage of the recipe, all, or export (writes the parts as a model folder).")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", metavar="DIR", help="Folder of photographs, with subfolders; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="RUN", help="Folder of the run; an existing run continues.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Recipe: base, lite, paper, or a .yaml file.")] = "lite",
    begin_with: Annotated[str | None, typer.Option(metavar="MODEL", help="Model to start from (fine-tuning).")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Time limit; repeat the command to continue.")] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda, xpu or mps.")] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="Precision; auto is bf16 on devices where it is fast.")
    ] = Precision.AUTO,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes that degrade the photographs.")] = 2,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 250,
    log_every: Annotated[int, typer.Option(min=1, help="Steps between log entries.")] = 25,
    validate_every: Annotated[int, typer.Option(min=1, help="Steps between validations.")] = 500,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only measure the cost: parameters, memory, FLOP, time.")
    ] = False,
) -> None:
    """Train one stage of a recipe, or all: lpnsr train all --data PHOTOS -o runs/mine

    Ctrl-C or SIGTERM ends the command after the current step and saves a checkpoint; a second one ends it at once. To
    continue, also after a kill, repeat the command: it starts from the last checkpoint and reaches the same weights.
    """
    first = os.environ.get("RANK", "0") == "0"  # of several processes, which would all say the same
    logging.basicConfig(level=logging.INFO if first else logging.ERROR, format="%(message)s")
    if dry_run:
        _show_costs(stage, recipe, device, precision)
        return
    if out is None:
        raise ConfigError("where to? Give the run's folder with --out")
    if stage != "export" and not data:
        raise ConfigError("train on what? Give folders of photographs with --data")
    with _signals() as asked:
        from lpnsr.training.loop import Budget
        from lpnsr.training.runs import Run, train

        run = Run(
            out=out,
            recipe=recipe,
            data=tuple(data or ()),
            begin_with=begin_with,
            minutes=minutes,
            device=device,
            precision=precision.value,
            workers=workers,
            budget=Budget(lambda: bool(asked), save_every, log_every, validate_every),
        )
        if not train(stage, run) and asked:
            raise typer.Exit(128 + asked[0])


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals by which somebody asked the process to end; at the second it does, at once."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            signals.end(number, frame)
        asked.append(number)
        signals.say("ending after the step at hand, to save; again to end at once")

    before: dict[int, Callable[..., Any] | int | None] = {}
    try:
        for each in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(each) != signal.SIG_IGN:
                before[each] = signal.signal(each, ask)
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show_costs(what: str, recipe_name: str, device: str, precision: Precision) -> None:
    from rich.console import Console
    from rich.table import Table

    from lpnsr.training.cost import measure
    from lpnsr.training.data.pool import pool_bytes
    from lpnsr.training.recipe import load_recipe
    from lpnsr.training.runs import stages_named

    if what == "export":
        raise ConfigError("--dry-run measures training, and export trains nothing: name a stage, or all")
    recipe = load_recipe(recipe_name)
    table = Table("stage", "parameters", "frozen", "TFLOP/step", "peak memory", "s/step", "steps", "time")
    for name in stages_named(what, recipe, recipe_name):
        logging.getLogger(__name__).info("measuring %s", name)
        cost = measure(name, recipe, device, precision.value)
        table.add_row(
            name,
            f"{cost.parameters / 1e6:.2f} M",
            f"{cost.frozen_parameters / 1e6:.2f} M",
            f"{cost.flop / 1e12:.3f}",
            "?" if cost.bytes is None else _amount(cost.bytes),
            f"{cost.seconds:.2f}",
            str(cost.steps),
            cost.time,
        )
    Console(width=110).print(table)
    pool = recipe.data.pool
    typer.echo(f"and once for all stages {pool} crops, {_amount(pool_bytes(recipe.data))} on the disk")


def _amount(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
