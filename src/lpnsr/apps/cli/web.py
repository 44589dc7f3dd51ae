"""``lpnsr web``: a page for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpnsr.apps.cli.serve import LIMITS, MODEL, NETWORK
from lpnsr.apps.cli.upscale import Dtype
from lpnsr.apps.network import LOCAL
from lpnsr.errors import ConfigError, MissingExtraError


def web(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all.", rich_help_panel=NETWORK)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free one.", rich_help_panel=NETWORK)] = 7860,
    auth: Annotated[
        str | None,
        typer.Option(
            envvar="LPNSR_AUTH", help="USER:PASSWORD that visitors need.", metavar="TEXT", rich_help_panel=NETWORK
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("-n", "--model", help="lite by default; again for another to choose.", rich_help_panel=MODEL),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="auto, cpu, cuda, cuda:1, mps; again for another to choose.", rich_help_panel=MODEL),
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Arithmetic of the networks.", rich_help_panel=MODEL)] = Dtype.AUTO,
    memory: Annotated[
        str | None,
        typer.Option(help="What the process may hold, such as 4G. Default: what is free.", rich_help_panel=MODEL),
    ] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Folder of downloaded models.", rich_help_panel=MODEL)] = None,
    max_upload: Annotated[int, typer.Option(min=1, help="MiB of an image file.", rich_help_panel=LIMITS)] = 50,
    max_batch: Annotated[
        int, typer.Option(min=1, help="MiB of the files of a batch, or a zip of them.", rich_help_panel=LIMITS)
    ] = 500,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Of an image; a result may have 16 times as many.", rich_help_panel=LIMITS)
    ] = 16_000_000,
    queue: Annotated[int, typer.Option(min=1, help="Jobs that may wait for a device.", rich_help_panel=LIMITS)] = 64,
    per_client: Annotated[
        int | None, typer.Option(min=1, help="Jobs of one address that may wait or run.", rich_help_panel=LIMITS)
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that a job may run.", rich_help_panel=LIMITS)] = 3600,
    ttl: Annotated[float, typer.Option(min=1, help="Seconds that files are kept.", rich_help_panel=LIMITS)] = 3600,
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
    from lpnsr.apps.jobs import Limits, Models
    from lpnsr.apps.web.desk import Desk
    from lpnsr.apps.web.fleet import Fleet
    from lpnsr.imaging import parse_memory

    if memory is not None:
        parse_memory(memory)
    fleet = Fleet.of(
        Models(model or ["lite"], dtype=dtype.value, cache_dir=cache_dir, memory=memory),
        device or ["auto"],
        dtype=dtype.value,
        limits=Limits(
            max_upload=max_upload * 2**20,
            max_pixels=max_pixels,
            queue=queue,
            owner_queue=per_client,
            timeout=timeout,
            ttl=ttl,
        ),
    )
    desk = Desk(fleet, cache_dir=cache_dir, max_batch=max_batch * 2**20)
    try:
        if login is None and host not in LOCAL:
            _say(f"warning: everybody who reaches {host} can use this page; --auth USER:PASSWORD keeps others out")
        serve(desk, host=host, port=port, login=login, say=_say)
    finally:
        desk.close()


def _login(auth: str | None) -> tuple[str, str] | None:
    if auth is None:
        return None
    user, colon, password = auth.partition(":")
    if not (user and colon and password):
        raise ConfigError("--auth: a user and a password with a colon between them are needed, USER:PASSWORD")
    return user, password


def _say(text: str) -> None:
    typer.echo(text, err=True)
