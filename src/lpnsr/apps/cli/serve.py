"""``lpnsr serve``: upscaling over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lpnsr.apps.cli.described import described
from lpnsr.apps.cli.serving import (
    LIMITS,
    MODEL,
    NETWORK,
    OF_MODELS,
    PANELS,
    Host,
    MaxPixels,
    MaxUpload,
    ModelNames,
    PerClient,
    Port,
    Queue,
    Timeout,
    Ttl,
    limits_of,
    models_of,
    say,
)
from lpnsr.apps.network import LOCAL
from lpnsr.errors import MissingExtraError
from lpnsr.upscaling.options import ModelOptions


@described(ModelOptions, only=OF_MODELS, panels=PANELS)
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="LPNSR_TOKEN", help="What clients have to send as Authorization: Bearer.", rich_help_panel=NETWORK
        ),
    ] = None,
    model: ModelNames = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="auto, cpu, cuda, cuda:1, mps; again for another worker.", rich_help_panel=MODEL),
    ] = None,
    max_upload: MaxUpload = 50,
    max_pixels: MaxPixels = 16_000_000,
    queue: Queue = 64,
    per_client: PerClient = None,
    timeout: Timeout = 3600,
    ttl: Ttl = 3600,
    state_dir: Annotated[
        Path | None,
        typer.Option(help="Folder in which jobs and results outlive the process.", rich_help_panel=LIMITS),
    ] = None,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds for what is at work at the end.", rich_help_panel=LIMITS)
    ] = 30,
    **chosen: Any,
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
    from lpnsr.apps.jobs import Engine
    from lpnsr.system.devices import pick_device, pick_dtype

    models = models_of(model, chosen)
    devices = device or ["auto"]
    for name in devices:
        pick_dtype(chosen["dtype"], pick_device(name))
    limits = limits_of(max_upload, max_pixels, queue, per_client, timeout, ttl)
    engine = Engine(models, devices=devices, limits=limits, state_dir=state_dir, warm=True)
    try:
        if token is None and host not in LOCAL:
            say(f"warning: everybody who reaches {host} can use this server; --token keeps others out")
        serve_(engine, host=host, port=port, token=token, grace=grace, say=say)
    finally:
        engine.close(grace=0)
