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
        str, typer.Argument(help="A stage of the recipe, all, or export, which writes the parts as a model folder.")
    ],
    data: Annotated[
        list[Path] | None, typer.Option("--data", metavar="DIR", help="Photographs, and all below; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="RUN", help="The run's folder; going on is automatic.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="base, lite, paper, or a .yaml file.")] = "lite",
    begin_with: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Fine-tune: begin with the weights of a model.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="End by the clock; the same call again goes on.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    precision: Annotated[Precision, typer.Option(help="auto is bf16 where the device is fast at it.")] = Precision.AUTO,
    workers: Annotated[int, typer.Option(min=1, help="Processes that degrade the photographs.")] = 2,
    save_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 250,
    log_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 25,
    validate_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 500,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only measure what it would cost: parameters, memory, FLOP, time.")
    ] = False,
) -> None:
    """Train a stage of a recipe, or all: lpnsr train all --data PHOTOS -o runs/mine

    Ctrl-C, and SIGTERM, end it after the step at hand, and save; again, at once. A call that was ended or killed goes
    on where it was saved when it is given again, and comes to the same weights.
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
