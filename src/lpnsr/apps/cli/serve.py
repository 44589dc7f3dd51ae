"""``lpnsr serve``: upscaling over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpnsr.apps.cli.upscale import Dtype
from lpnsr.apps.network import LOCAL
from lpnsr.errors import MissingExtraError

NETWORK, LIMITS, MODEL = "Network", "Limits", "Model"


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all.", rich_help_panel=NETWORK)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free one.", rich_help_panel=NETWORK)] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="LPNSR_TOKEN", help="What clients have to send as Authorization: Bearer.", rich_help_panel=NETWORK
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("-n", "--model", help="lite by default; again for another to choose.", rich_help_panel=MODEL),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="auto, cpu, cuda, cuda:1, mps; again for another worker.", rich_help_panel=MODEL),
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Arithmetic of the networks.", rich_help_panel=MODEL)] = Dtype.AUTO,
    memory: Annotated[
        str | None,
        typer.Option(help="What the process may hold, such as 4G. Default: what is free.", rich_help_panel=MODEL),
    ] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Folder of downloaded models.", rich_help_panel=MODEL)] = None,
    max_upload: Annotated[int, typer.Option(min=1, help="MiB of an image file.", rich_help_panel=LIMITS)] = 50,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Of an image; a result may have 16 times as many.", rich_help_panel=LIMITS)
    ] = 16_000_000,
    queue: Annotated[int, typer.Option(min=1, help="Jobs that may wait.", rich_help_panel=LIMITS)] = 64,
    per_client: Annotated[
        int | None, typer.Option(min=1, help="Jobs of one address that may wait or run.", rich_help_panel=LIMITS)
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that a job may run.", rich_help_panel=LIMITS)] = 3600,
    ttl: Annotated[float, typer.Option(min=1, help="Seconds that a result is kept.", rich_help_panel=LIMITS)] = 3600,
    state_dir: Annotated[
        Path | None,
        typer.Option(help="Folder in which jobs and results outlive the process.", rich_help_panel=LIMITS),
    ] = None,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds for what is at work at the end.", rich_help_panel=LIMITS)
    ] = 30,
) -> None:
    """Upscale over HTTP: lpnsr serve, then see http://127.0.0.1:8000/docs

    POST an image to /v1/jobs, follow /v1/jobs/ID, fetch /v1/jobs/ID/result.
    """
    try:
        from lpnsr.apps.http.server import serve as serve_
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lpnsr"):
            raise
        raise MissingExtraError("serve", str(error.name)) from None
    from lpnsr.apps.jobs import Engine, Limits, Models
    from lpnsr.devices import pick_device, pick_dtype
    from lpnsr.imaging import parse_memory

    if memory is not None:
        parse_memory(memory)
    devices = device or ["auto"]
    for name in devices:
        pick_dtype(dtype.value, pick_device(name))
    engine = Engine(
        Models(model or ["lite"], dtype=dtype.value, cache_dir=cache_dir, memory=memory),
        devices=devices,
        limits=Limits(
            max_upload=max_upload * 2**20,
            max_pixels=max_pixels,
            queue=queue,
            owner_queue=per_client,
            timeout=timeout,
            ttl=ttl,
        ),
        state_dir=state_dir,
        warm=True,
    )
    try:
        if token is None and host not in LOCAL:
            _say(f"warning: everybody who reaches {host} can use this server; --token keeps others out")
        serve_(engine, host=host, port=port, token=token, grace=grace, say=_say)
    finally:
        engine.close(grace=0)


def _say(text: str) -> None:
    typer.echo(text, err=True)
