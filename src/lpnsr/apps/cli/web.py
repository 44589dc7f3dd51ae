"""``lpnsr web``: a page for people."""

from __future__ import annotations

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
from lpnsr.errors import ConfigError, MissingExtraError
from lpnsr.upscaling.options import ModelOptions


@described(ModelOptions, only=OF_MODELS, panels=PANELS)
def web(
    host: Host = "127.0.0.1",
    port: Port = 7860,
    auth: Annotated[
        str | None,
        typer.Option(
            envvar="LPNSR_AUTH", help="USER:PASSWORD that visitors need.", metavar="TEXT", rich_help_panel=NETWORK
        ),
    ] = None,
    model: ModelNames = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="auto, cpu, cuda, cuda:1, mps; again for another to choose.", rich_help_panel=MODEL),
    ] = None,
    max_upload: MaxUpload = 50,
    max_batch: Annotated[
        int, typer.Option(min=1, help="MiB of the files of a batch, or a zip of them.", rich_help_panel=LIMITS)
    ] = 500,
    max_pixels: MaxPixels = 16_000_000,
    queue: Queue = 64,
    per_client: PerClient = None,
    timeout: Timeout = 3600,
    ttl: Ttl = 3600,
    **chosen: Any,
) -> None:
    """Upscale in a browser: lpnsr web, then open http://127.0.0.1:7860

    One photograph with a before/after slider, batches, and a look at what the model thinks.
    """
    login = _login(auth)
    try:
        from lpnsr.apps.web.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lpnsr"):
            raise
        raise MissingExtraError("web", str(error.name)) from None
    from lpnsr.apps.web.desk import Desk
    from lpnsr.apps.web.fleet import Fleet

    models = models_of(model, chosen)
    limits = limits_of(max_upload, max_pixels, queue, per_client, timeout, ttl)
    fleet = Fleet.of(models, device or ["auto"], dtype=chosen["dtype"], limits=limits)
    desk = Desk(fleet, max_batch=max_batch * 2**20)
    try:
        if login is None and host not in LOCAL:
            say(f"warning: everybody who reaches {host} can use this page; --auth USER:PASSWORD keeps others out")
        serve(desk, host=host, port=port, login=login, say=say)
    finally:
        desk.close()


def _login(auth: str | None) -> tuple[str, str] | None:
    if auth is None:
        return None
    user, colon, password = auth.partition(":")
    if not (user and colon and password):
        raise ConfigError("--auth: a user and a password with a colon between them are needed, USER:PASSWORD")
    return user, password
