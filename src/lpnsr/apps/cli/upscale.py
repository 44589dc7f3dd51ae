"""``lpnsr upscale``: its options, and the checks that need nothing but them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import typer

from lpnsr.apps.cli.described import described, model_and_image, parsed
from lpnsr.errors import ConfigError
from lpnsr.upscaling.options import FileOptions, ModelOptions, Options

FILES, SIZE, MODEL, MACHINE, BATCH = PANELS = ("Files", "Size", "Model", "Machine", "Big batches")


@described(ModelOptions, Options, FileOptions, panels=PANELS)
def upscale(
    ctx: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Images, folders, patterns such as 'photos/*.jpg', or -."),
    ] = None,
    more_inputs: Annotated[
        list[str] | None, typer.Option("-i", "--input", help="Input, same as INPUT; repeatable.", rich_help_panel=FILES)
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder for the results. For one image, also a file or -.",
            rich_help_panel=FILES,
        ),
    ] = None,
    suffix: Annotated[
        str, typer.Option(help="Suffix of the result names, for instance _x4.", rich_help_panel=FILES)
    ] = "",
    ext: Annotated[
        str,
        typer.Option(
            help="Format of the results: auto (as the input), png, jpg, webp, tif, ...", rich_help_panel=FILES
        ),
    ] = "auto",
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Include subfolders.", rich_help_panel=FILES)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing results.", rich_help_panel=FILES)
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Keep existing results.", rich_help_panel=FILES),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Also write NAME.compare.png: bicubic left, result right.", rich_help_panel=FILES
        ),
    ] = False,
    fp32: Annotated[
        bool, typer.Option("--fp32", help="Compute in float32; the same as --dtype float32.", rich_help_panel=MACHINE)
    ] = False,
    jobs: Annotated[
        int,
        typer.Option("-j", "--jobs", min=1, help="Number of files read and written ahead.", rich_help_panel=MACHINE),
    ] = 2,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object per file on standard output.", rich_help_panel=MACHINE)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="No messages except errors.", rich_help_panel=MACHINE)
    ] = False,
    engine: Annotated[
        Literal["plain", "ray"],
        typer.Option(
            help="Engine: plain, or ray for several models at once, on one or more machines.", rich_help_panel=BATCH
        ),
    ] = "plain",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of models at once. Default: by GPUs, or cores.", rich_help_panel=BATCH),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads per worker. Default: OMP_NUM_THREADS, or up to 4.", rich_help_panel=BATCH),
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of the manifest, in Parquet. Default: manifest.parquet in the output.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of a Ray cluster, or auto. Default: RAY_ADDRESS, or this machine.", rich_help_panel=BATCH
        ),
    ] = None,
    **chosen: Any,
) -> None:
    """Upscale photographs: lpnsr upscale photo.jpg -o photo_x4.png

    A result appears whole or not at all. One bad file does not stop the others: it is reported, and the exit code is 1.
    """
    from lpnsr.apps.files.plan import Naming, plan
    from lpnsr.apps.files.report import upscale_files
    from lpnsr.apps.files.streams import STANDARD, is_stream, staged
    from lpnsr.apps.ray import check_installed
    from lpnsr.upscaling.batch import BatchSettings

    if overwrite and skip_existing:
        raise ConfigError("--overwrite and --skip-existing exclude each other")
    if fp32 and chosen["dtype"] not in ("auto", "float32"):
        raise ConfigError(f"--fp32 and --dtype {chosen['dtype']} exclude each other")
    names = [*(inputs or []), *(more_inputs or [])]
    if not names:
        raise ConfigError("nothing to do: give images, folders or patterns")
    if not output:
        raise ConfigError("where to? Give a folder (or, for one image, a file) with -o")
    if json and output == STANDARD:
        raise ConfigError("-o - and --json both write to standard output")
    if compare and is_stream(output):
        raise ConfigError(f"-o {output} has no place for the picture of --compare; give a folder or file")
    if engine == "ray" and (STANDARD in names or is_stream(output)):
        raise ConfigError("--engine ray reads and writes files; leave it out for standard input and output")
    of_ray: dict[str, Any] = {"workers": workers, "threads": threads, "manifest": manifest, "address": address}
    if engine == "ray":
        check_installed()
    else:
        for name, value in of_ray.items():
            if value is not None:
                raise ConfigError(f"--{name} is for --engine ray")
    if fp32:
        chosen["dtype"] = "float32"
    model, options = model_and_image(chosen)
    naming = Naming(output, suffix, ext, compare)
    settings = BatchSettings(
        model=model,
        options=options,
        file=parsed(FileOptions, chosen),
        overwrite=overwrite,
        skip_existing=skip_existing,
        jobs=jobs,
        debug=bool(ctx.find_root().params.get("debug")),
    )
    if engine == "ray":
        from lpnsr.apps.ray.batch import RayOptions, upscale_big

        failures = upscale_big(
            names, naming, settings, RayOptions(**of_ray), recursive=recursive, as_json=json, quiet=quiet
        )
    else:
        with staged(names, output, ext) as (names, place, shown):
            naming = replace(naming, output=place, ext=ext if place == output else "auto")
            planned = plan(names, naming, recursive=recursive, skip_existing=skip_existing)
            failures = upscale_files(planned, settings, as_json=json, quiet=quiet, shown=shown)
    if failures:
        raise typer.Exit(1)
