"""``lpnsr models``: show, fetch, convert and verify models. Torch is imported by the commands that need it."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from lpnsr.errors import CheckpointError, ConfigError

app = typer.Typer(help="Show, download, convert and verify models.", no_args_is_help=True)


class PredictorChoice(StrEnum):
    """Released noise predictors."""

    PAPER = "paper"
    V2 = "v2"


Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        help="Folder for downloads and converted models. Default: $LPNSR_CACHE, else ~/.cache/lpnsr.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Model: a name that lpnsr models list shows, a folder, a file or a hub id.")]
Revision = Annotated[str | None, typer.Option(help="Revision of a hub id: branch, tag or commit.")]
Predictor = Annotated[
    PredictorChoice,
    typer.Option(help="Noise predictor: paper, or v2, trained with a GAN loss on the latent."),
]


def _say(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(escape(text), highlight=False)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


@app.command("list")
def list_models(cache_dir: Cache = None, as_json: Json = False) -> None:
    """List the models that have names, and their locations.

    The last line names the folder for further model folders and for .pth or .safetensors files of networks that
    spandrel reads, such as those of openmodeldb.info.
    """
    from lpnsr.checkpoints.locate import known_models, models_folder

    models = known_models(cache_dir)
    if as_json:
        _print_json([{"name": m.name, "available": m.available, "where": m.where} for m in models])
        return
    width = max(len(model.name) for model in models)
    for model in models:
        typer.echo(f"{model.name:<{width}} {'available' if model.available else 'absent':<10} {model.where}")
    typer.echo(
        f"Folders and files of further models (.pth, .safetensors) belong into {models_folder(cache_dir)}", err=True
    )


@app.command()
def info(name: Name, revision: Revision = None, cache_dir: Cache = None, as_json: Json = False) -> None:
    """Show a model's parts, parameter counts, chain settings, scores and licence."""
    from lpnsr.checkpoints import resolve
    from lpnsr.checkpoints.verify import summarise

    folder = resolve(name, revision, cache_dir)
    spec, parts = summarise(folder)
    if as_json:
        _print_json(
            {
                "path": str(folder),
                **spec.model_dump(mode="json"),
                "parts": {p.name: vars(p) for p in parts},
                "parameters": sum(p.parameters for p in parts),
            }
        )
        return
    lines = [f"{spec.name}    {folder}", *([spec.description, ""] if spec.description else [])]
    lines += [f"  {p.name:<16} {p.type:<18} {p.parameters:>12,} parameters {p.bytes / 1e6:>8.1f} MB" for p in parts]
    lines += [f"  {'together':<35} {sum(p.parameters for p in parts):>12,} parameters"]
    lines += [f"scale    {spec.scale}"]
    chain = ", ".join(f"{key} {value}" for key, value in spec.chain.model_dump().items())
    lines += [f"chain    {chain if spec.steps else 'none: the upsampler alone'}"]
    lines += [f"score    {s.metric} {s.value:g} on {s.data} ({s.protocol})" for s in spec.scores]
    lines += [f"from     {s.file} ({s.licence}) SHA-256 {s.sha256}" for s in spec.sources]
    lines += [f"licence  {spec.licence}"]
    Console(soft_wrap=True).print(escape("\n".join(lines)), highlight=False)


@app.command()
def download(
    name: Annotated[
        str, typer.Argument(help="Model: official, or official-v2 for its second noise predictor.")
    ] = "official",
    predictor: Predictor = PredictorChoice.PAPER,
    accept_licence: Annotated[
        bool,
        typer.Option("--accept-licence", help="Accept the licences of the files; the S-Lab licence is non-commercial."),
    ] = False,
    mirror: Annotated[
        str | None,
        typer.Option(help="Hugging Face repository or URL of a folder to fetch from. Default: $LPNSR_MIRROR."),
    ] = None,
    cache_dir: Cache = None,
) -> None:
    """Download the official checkpoints and convert them.

    The mirrors of each file are tried in turn: GitHub releases and Hugging Face. Repeat the command to resume an
    interrupted download. The SHA-256 of the first copy of a file is stored, and every later copy has to match.
    """
    from lpnsr.checkpoints import download_official
    from lpnsr.checkpoints.registry import LICENCE_NOTICE, predictor_of

    known = predictor_of(name)
    if known is None:
        raise ConfigError(f"{name!r} cannot be downloaded; it can be: official (or official-v2)")
    chosen = predictor.value if name == "official" else known
    if accept_licence:
        _say(LICENCE_NOTICE)
    folder = download_official(chosen, cache_dir, accept_licence=accept_licence, mirror=mirror, say=_say)
    _say(f"the model is in {folder}; use it with: lpnsr upscale --model {folder.name} ...")


@app.command()
def convert(
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder to write.")],
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of the released files, with their original names.")
    ] = None,
    autoencoder: Annotated[Path | None, typer.Option(help="autoencoder_vq_f4.pth")] = None,
    denoiser: Annotated[Path | None, typer.Option(help="resshift_realsrx4_s4_v3.pth")] = None,
    noise_predictor: Annotated[Path | None, typer.Option(help="noise_predictor.pth or noise_predictor_v2.pth")] = None,
    upsampler: Annotated[Path | None, typer.Option(help="003_realSR_..._SwinIR-L_x4_GAN.pth")] = None,
    predictor: Annotated[
        PredictorChoice | None,
        typer.Option(help="Noise predictor in FOLDER. Default: paper, if present."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model. Default: the name of the output folder.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Store in half precision: half the size.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing model folder.")] = False,
) -> None:
    """Convert released checkpoint files (.pth or .safetensors) into a model folder.

    Give FOLDER, or the files one by one. An individual file takes precedence over FOLDER. Autoencoder and denoiser
    are required. Without a noise predictor, the model uses Gaussian noise; without an upsampler, it starts from
    bicubic interpolation.
    """
    import torch

    from lpnsr.checkpoints.convert import convert_released, find_released

    given = {"autoencoder": autoencoder, "denoiser": denoiser, "noise_predictor": noise_predictor}
    given["upsampler"] = upsampler
    files: dict[Any, Path] = {part: path for part, path in given.items() if path is not None}
    if folder is not None:
        files = {**find_released(folder, predictor.value if predictor else None, files.keys()), **files}
    elif predictor is not None:
        raise ConfigError("--predictor chooses among the files of FOLDER, and no FOLDER is given")
    dtype = torch.float16 if half else torch.float32
    convert_released(files, output, name=name, dtype=dtype, overwrite=overwrite, say=_say)
    _say(f"wrote {output}; see it with: lpnsr models info {output}")


@app.command()
def verify(name: Name, revision: Revision = None, cache_dir: Cache = None, as_json: Json = False) -> None:
    """Check the SHA-256 of every file, that all parts load and fit each other, and that all weights are finite.

    Official checkpoints are recognised by their SHA-256 if it is known, else by their shapes.
    """
    from lpnsr.checkpoints import resolve
    from lpnsr.checkpoints.verify import verify_downloads, verify_folder

    checks = [*verify_folder(resolve(name, revision, cache_dir), cache_dir), *verify_downloads(name, cache_dir)]
    if as_json:
        _print_json([vars(check) for check in checks])
    else:
        console = Console(soft_wrap=True)
        for check in checks:
            mark = "[green]ok    [/green]" if check.ok else "[red]failed[/red]"
            console.print(f"{mark} {escape(check.what)}: {escape(check.detail)}", highlight=False)
    failed = sum(not check.ok for check in checks)
    if failed:
        raise CheckpointError(f"{failed} of {len(checks)} checks failed for {name}")
