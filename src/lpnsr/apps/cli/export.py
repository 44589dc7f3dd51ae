"""``lpnsr export``: the networks of a model as graphs for another runtime."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lpnsr.apps.cli.described import described
from lpnsr.upscaling.options import ModelOptions


@described(ModelOptions, only=("model", "revision", "cache_dir"), panel="Model")
def export(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the graphs; usable as a model.")],
    runtime: Annotated[Literal["onnx", "openvino", "ncnn"], typer.Option(help="Runtime of the graphs.")] = "onnx",
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="Maximum deviation from PyTorch, relative to the output's RMS. Default: 1e-4."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print export.json on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No messages except errors.")] = False,
    **chosen: Any,
) -> None:
    """Export a model's networks as graphs for images of any size: lpnsr export --runtime onnx -o lite-onnx

    For ONNX Runtime and OpenVINO, all networks become ONNX graphs. For ncnn, the pre-upsampler becomes .param and .bin
    files; the other networks stay with PyTorch. Every graph is compared with PyTorch at odd sizes. If one exceeds the
    tolerance, the export fails and nothing is written. Use the result with lpnsr upscale -n lite-onnx. The export is
    optional: lpnsr upscale --runtime onnx exports the model into the cache.
    """
    from lpnsr.checkpoints import resolve
    from lpnsr.runtimes.export import TOLERANCE, export_model

    manifest = export_model(
        resolve(chosen["model"], chosen["revision"], chosen["cache_dir"]),
        output,
        runtime,
        tolerance=TOLERANCE if tolerance is None else tolerance,
        overwrite=overwrite,
        say=(lambda text: None) if quiet else (lambda text: typer.echo(text, err=True)),
    )
    if json:
        typer.echo(json_format.dumps(manifest.model_dump(mode="json"), indent=2))
    if not quiet:
        typer.echo(f"wrote {output}; use it with: lpnsr upscale -n {output} ...", err=True)
