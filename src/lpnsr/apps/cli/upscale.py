"""``lpnsr upscale``: its options, and the checks that need nothing but them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lpnsr.apps.cli.export import Runtime
from lpnsr.errors import ConfigError


class Noise(StrEnum):
    """Where the noise between the steps comes from."""

    PREDICTED = "predicted"
    MODE = "mode"
    GAUSSIAN = "gaussian"


class Start(StrEnum):
    """What the chain starts from."""

    UPSAMPLER = "upsampler"
    BICUBIC = "bicubic"


class ColourFix(StrEnum):
    """How the colours of the input are restored."""

    WAVELET = "wavelet"
    ADAIN = "adain"
    NONE = "none"


class Dtype(StrEnum):
    """Arithmetic of the networks."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Engine(StrEnum):
    """Who does the work."""

    PLAIN = "plain"
    RAY = "ray"


FILES, SIZE, MODEL, MACHINE, BATCH = "Files", "Size", "Model", "Machine", "Big batches"


def upscale(
    ctx: typer.Context,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT...", help="Images, folders or patterns such as 'photos/*.jpg'.")
    ] = None,
    more_inputs: Annotated[
        list[str] | None, typer.Option("-i", "--input", help="An input, as INPUT; repeatable.", rich_help_panel=FILES)
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", help="Folder for the results; for one image also a file.", rich_help_panel=FILES
        ),
    ] = None,
    suffix: Annotated[
        str, typer.Option(help="Added to the names of the results, for instance _x4.", rich_help_panel=FILES)
    ] = "",
    ext: Annotated[
        str,
        typer.Option(
            help="Format of the results: auto (as the input), png, jpg, webp, tif, ...", rich_help_panel=FILES
        ),
    ] = "auto",
    quality: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="For JPEG (95), WebP (92) and AVIF (85).", rich_help_panel=FILES),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Enter the folders in folders.", rich_help_panel=FILES)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that are there already.", rich_help_panel=FILES)
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Keep them, and do what is missing: resumes.", rich_help_panel=FILES)
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Also write NAME.compare.png: bicubic left, result right.", rich_help_panel=FILES
        ),
    ] = False,
    scale: Annotated[
        float | None,
        typer.Option("-s", "--scale", "--outscale", help="Any factor; 4 by default.", rich_help_panel=SIZE),
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Of the result, in pixels, instead.", rich_help_panel=SIZE)
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(
            min=1, help="Likewise; one of the two keeps the proportions, both need not.", rich_help_panel=SIZE
        ),
    ] = None,
    max_side: Annotated[
        int | None, typer.Option(min=1, help="Pixels of the result's longer side instead.", rich_help_panel=SIZE)
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "-n", "--model", "--model-name", help="lite, official, a folder or a hub id.", rich_help_panel=MODEL
        ),
    ] = "lite",
    revision: Annotated[str | None, typer.Option(help="Of a hub id.", rich_help_panel=MODEL)] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(
            "--cache-dir",
            help="Folder of downloaded models. Default: $LPNSR_CACHE, else ~/.cache/lpnsr.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Fewer are faster; 0 is the pre-upsampler.", rich_help_panel=MODEL)
    ] = None,
    noise: Annotated[Noise, typer.Option(help="Noise between the steps.", rich_help_panel=MODEL)] = Noise.PREDICTED,
    fidelity: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="0 most detailed, 1 most faithful. Default: the model's.", rich_help_panel=MODEL
        ),
    ] = None,
    start: Annotated[Start, typer.Option(help="What the chain starts from.", rich_help_panel=MODEL)] = Start.UPSAMPLER,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same result.", rich_help_panel=MODEL)] = 0,
    colour_fix: Annotated[
        ColourFix, typer.Option("--colour-fix", "--color-fix", help="Keeps the input's colours.", rich_help_panel=MODEL)
    ] = ColourFix.WAVELET,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=MACHINE)] = "auto",
    dtype: Annotated[Dtype, typer.Option(help="Arithmetic of the networks.", rich_help_panel=MACHINE)] = Dtype.AUTO,
    runtime: Annotated[
        Runtime,
        typer.Option(
            help="What the networks run in: torch, or onnx or openvino on the CPU. auto: torch, or what the model was "
            "exported for.",
            rich_help_panel=MACHINE,
        ),
    ] = Runtime.AUTO,
    fp32: Annotated[bool, typer.Option("--fp32", help="The same as --dtype float32.", rich_help_panel=MACHINE)] = False,
    tile: Annotated[
        str,
        typer.Option(
            "-t", "--tile", help="Pixels of the input, 0 for none, or auto: the model's own.", rich_help_panel=MACHINE
        ),
    ] = "auto",
    memory: Annotated[
        str | None,
        typer.Option(help="What the process may hold, such as 2G. Default: what is free.", rich_help_panel=MACHINE),
    ] = None,
    jobs: Annotated[
        int, typer.Option("-j", "--jobs", min=1, help="Files read and written ahead.", rich_help_panel=MACHINE)
    ] = 2,
    max_pixels: Annotated[
        int | None,
        typer.Option(min=1, help="Refuse inputs larger than this; default 400 million.", rich_help_panel=MACHINE),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="A JSON object a file on standard output.", rich_help_panel=MACHINE)
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors.", rich_help_panel=MACHINE)] = False,
    engine: Annotated[
        Engine, typer.Option(help="ray: several models at once, on one machine or many.", rich_help_panel=BATCH)
    ] = Engine.PLAIN,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Models at once. Default: by GPUs, or cores.", rich_help_panel=BATCH)
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Of each worker. Default: OMP_NUM_THREADS, or up to 4.", rich_help_panel=BATCH),
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Of Parquet files. Default: manifest.parquet in the output.", rich_help_panel=BATCH
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster, or auto. Default: RAY_ADDRESS, or this machine.", rich_help_panel=BATCH),
    ] = None,
) -> None:
    """Upscale photographs: lpnsr upscale photo.jpg -o photo_x4.png

    A result appears whole or not at all. One bad file does not stop the others: it is reported, and the exit code is 1.
    """
    from lpnsr.apps.files.plan import Naming, plan
    from lpnsr.apps.files.run import Request, run
    from lpnsr.apps.ray import check_installed

    if overwrite and skip_existing:
        raise ConfigError("--overwrite and --skip-existing exclude each other")
    if fp32 and dtype not in (Dtype.AUTO, Dtype.FLOAT32):
        raise ConfigError(f"--fp32 and --dtype {dtype.value} exclude each other")
    names = [*(inputs or []), *(more_inputs or [])]
    if not names:
        raise ConfigError("nothing to do: give images, folders or patterns")
    if not output:
        raise ConfigError("where to? Give a folder (or, for one image, a file) with -o")
    of_ray = {"workers": workers, "threads": threads, "manifest": manifest, "address": address}
    if engine is Engine.RAY:
        check_installed()
    else:
        for name, value in of_ray.items():
            if value is not None:
                raise ConfigError(f"--{name} is for --engine ray")
    naming = Naming(output, suffix, ext, compare)
    request = Request(
        model={
            "model": model,
            "device": device,
            "dtype": "float32" if fp32 else dtype.value,
            "runtime": runtime.value,
            "revision": revision,
            "cache_dir": cache_dir,
            "memory": memory,
        },
        size=_size(scale, width, height, max_side),
        options={
            "steps": steps,
            "noise": noise.value,
            "fidelity": fidelity,
            "start": start.value,
            "seed": seed,
            "tile": tile_size(tile),
            "colour_fix": colour_fix.value,
        },
        overwrite=overwrite,
        skip_existing=skip_existing,
        quality=quality,
        max_pixels=max_pixels,
        jobs=jobs,
        debug=bool(ctx.find_root().params.get("debug")),
    )
    if engine is Engine.RAY:
        from lpnsr.apps.ray.engine import Scale
        from lpnsr.apps.ray.engine import run as run_big

        big = Scale(**of_ray)  # type: ignore[arg-type]
        failures = run_big(names, naming, request, big, recursive=recursive, as_json=json, quiet=quiet)
    else:
        planned = plan(names, naming, recursive=recursive, skip_existing=skip_existing)
        failures = run(planned, request, as_json=json, quiet=quiet)
    if failures:
        raise typer.Exit(1)


def _size(scale: float | None, width: int | None, height: int | None, max_side: int | None) -> dict[str, Any]:
    """The arguments of ``output_size`` that were given; 4x if none was."""
    if scale is not None and not 0 < scale < float("inf"):
        raise ConfigError(f"--scale {scale}: a number above 0 is needed")
    given = {"scale": scale, "width": width, "height": height, "max_side": max_side}
    chosen = {name: value for name, value in given.items() if value is not None}
    if len({name in ("width", "height") or name for name in chosen}) > 1:
        raise ConfigError("choose one of --scale, --width and/or --height, --max-side")
    return chosen or {"scale": 4.0}


def tile_size(text: str) -> int | str:
    """What ``--tile`` says. Raises ConfigError."""
    if text == "auto":
        return text
    if not text.isdecimal():
        raise ConfigError(f"--tile {text!r}: a number of pixels, 0 (no tiles) or auto is needed")
    return int(text)
