"""``lpnsr bench``: how fast a model is on this machine."""

from __future__ import annotations

import json
import os
import re
from functools import partial
from typing import Annotated, Any

import typer

from lpnsr.apps.cli.described import described, parsed
from lpnsr.errors import ConfigError
from lpnsr.upscaling.options import ModelOptions, Options

_BYTES = 3 * (4 + 16)  # an input pixel in float32, and its 16 of the result


@described(
    Options, ModelOptions, only=("model", "steps", "tile", "device", "dtype", "runtime", "cache_dir"), panel="Model"
)
def bench(
    size: Annotated[
        list[str] | None,
        typer.Option(
            "--size", metavar="WxH", help="Size of the input in pixels; repeatable. Default: 192x128 and 512x512."
        ),
    ] = None,
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, help="Number of timed calls per size.")] = 5,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Number of CPU threads. Default: PyTorch's choice.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    **chosen: Any,
) -> None:
    """Time a model and its parts: median, fastest and slowest call, pixels, arithmetic, memory.

    The roofline is the least time that arithmetic and memory of each operation allow, at rates measured in the same
    run: those of a matrix product, a convolution and a copy. 3x3 convolutions by Winograd's method count as direct ones
    but need a third of the multiplications, so shares above 100% are possible. The parts are timed in an additional
    call. Peak memory is that of the process, which keeps the memory of earlier sizes.
    """
    sizes = [_size(text) for text in size or ["192x128", "512x512"]]
    cores = os.cpu_count() or 1
    if threads and threads > cores:
        raise ConfigError(f"--threads {threads}: this machine has {cores} cores")
    options = parsed(Options, chosen).model_dump(exclude_defaults=True)
    where = parsed(ModelOptions, chosen)
    model, steps = where.model, options.get("steps")
    import torch

    from lpnsr.checkpoints import resolve
    from lpnsr.evaluation.roofline import calibrate
    from lpnsr.evaluation.speed import measure
    from lpnsr.runtimes import is_exported
    from lpnsr.system.machine import machine_of
    from lpnsr.system.memory import available_memory
    from lpnsr.upscaling.upscaler import Upscaler

    if is_exported(resolve(model, cache_dir=where.cache_dir)):
        raise ConfigError(
            f"{model} is exported, and arithmetic is counted in PyTorch: give the model that it was made from, with "
            "--runtime"
        )
    free = available_memory("cpu")
    for width, height in sizes:
        if (needed := width * height * _BYTES) > free:
            raise ConfigError(
                f"--size {width}x{height}: the image and its result take {needed / 2**30:,.1f} GiB, and "
                f"{free / 2**30:,.1f} GiB are free"
            )
    if threads:
        torch.set_num_threads(threads)
    load = partial(Upscaler.from_pretrained, **where.model_dump(exclude={"runtime"}))
    up = load(runtime=where.runtime)
    counted = load(runtime="torch", device="cpu") if up.runtime != "torch" else None
    roofline = calibrate(up.device, up.dtype)
    rows = [measure(up, *wh, repetitions, counted=counted, **options).summary(roofline) for wh in sizes]
    result = {
        "model": up.spec.name,
        "steps": up.restorer.schedule.steps if steps is None else steps,
        "runtime": up.runtime,
        "dtype": str(up.dtype).removeprefix("torch."),
        "machine": machine_of(up.device),
        "roofline": {"gflop_per_second": roofline.flops / 1e9, "gigabytes_per_second": roofline.bandwidth / 1e9},
        "sizes": rows,
    }
    typer.echo(json.dumps(result, indent=1)) if as_json else _show(result)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)[x×]([1-9]\d*)", text.strip().lower())
    if not found:
        raise ConfigError(f"--size {text}: give width x height in pixels, such as 192x128")
    return int(found[1]), int(found[2])


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    rates = result["roofline"]
    console = Console(width=110, highlight=False)
    console.print(
        ", ".join((result["model"], f"{result['steps']} steps", result["dtype"], result["runtime"], result["machine"]))
    )
    console.print(
        f"measured here: {rates['gflop_per_second']:,.0f} GFLOP/s, {rates['gigabytes_per_second']:,.1f} GB/s of copying"
    )
    table = Table("input", "seconds", "fastest..slowest", "Mpx/s", "GFLOP", "GFLOP/s", "of roofline", "peak memory")
    for row in result["sizes"]:
        table.add_row(
            f"{row['width']}x{row['height']}",
            f"{row['seconds']:.3f}",
            f"{row['fastest']:.3f}..{row['slowest']:.3f}",
            f"{row['lr_megapixels_per_second']:.3f}",
            f"{row['gflop']:,.0f}",
            f"{row['gflop_per_second']:,.0f}",
            f"{row['share_of_roofline']:.0%}",
            "?" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:,.0f} MiB",
        )
    console.print(table)
    parts = Table("input", "part", "seconds", "GFLOP", "GFLOP/s", "of the rate measured here")
    for row in result["sizes"]:
        for name, part in row["parts"].items():
            parts.add_row(
                f"{row['width']}x{row['height']}",
                name,
                f"{part['seconds']:.3f}",
                f"{part['gflop']:,.1f}",
                f"{part['gflop_per_second']:,.0f}",
                f"{part['share_of_peak']:.0%}",
            )
    console.print(parts)
