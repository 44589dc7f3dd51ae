"""``lpnsr serve`` and ``lpnsr web``: upscaling over HTTP and in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import Field

from lpnsr.apps.cli.described import described, parsed
from lpnsr.apps.limits import Limits
from lpnsr.errors import ConfigError, MissingExtraError
from lpnsr.system.config import StrictConfig
from lpnsr.upscaling.options import DEFAULT_MODEL, Cli, ModelOptions

if TYPE_CHECKING:
    from lpnsr.apps.jobs import Models

NETWORK, MODEL, MACHINE, LIMITS = PANELS = ("Network", "Model", "Machine", "Limits")


class ServerOptions(StrictConfig):
    """Options of both servers beside those of models and limits."""

    host: Annotated[str, Field(description="Address to listen on; 0.0.0.0 for all interfaces."), Cli(NETWORK)] = (
        "127.0.0.1"
    )
    model: Annotated[
        list[str] | None,
        Field(
            description="Model to serve; repeatable, the first is the default. Default: base for lpnsr serve, all "
            "available models for lpnsr web."
        ),
        Cli(MODEL, ("-n", "--model")),
    ] = None
    device: Annotated[
        list[str] | None,
        Field(description="Device: auto, cpu, cuda, cuda:1, xpu or mps; repeatable, one worker each."),
        Cli(MODEL),
    ] = None


_OF_MODELS = ("dtype", "memory", "cache_dir")
_OPTIONS = (*ServerOptions.model_fields, *_OF_MODELS, "max_pixels", "queue", "owner_queue", "timeout", "ttl")
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.", rich_help_panel=NETWORK)]
MaxUpload = Annotated[int, typer.Option(min=1, help="Maximum size of an image file in MiB.", rich_help_panel=LIMITS)]


@described(ServerOptions, ModelOptions, Limits, only=_OPTIONS, panels=PANELS)
def serve(
    port: Port = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="LPNSR_TOKEN", help="Token that clients send as Authorization: Bearer.", rich_help_panel=NETWORK
        ),
    ] = None,
    max_upload: MaxUpload = 50,
    state_dir: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps jobs and results when the process ends.", rich_help_panel=LIMITS),
    ] = None,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds that running jobs get at shutdown.", rich_help_panel=LIMITS)
    ] = 30,
    **chosen: Any,
) -> None:
    """Upscale over HTTP: lpnsr serve, then open http://127.0.0.1:8000/docs

    POST an image to /v1/jobs, follow /v1/jobs/ID, fetch /v1/jobs/ID/result.
    """
    with _extra("serve"):
        from lpnsr.apps.http.server import serve as serve_
    from lpnsr.apps.jobs import Engine
    from lpnsr.system.devices import pick_device, pick_dtype

    models, devices, limits = _settings(chosen, max_upload)
    for name in devices:
        pick_dtype(chosen["dtype"], pick_device(name))
    engine = Engine(models, devices=devices, limits=limits, state_dir=state_dir, warm=True)
    try:
        _warn_if_open(chosen["host"], token, "server; --token")
        serve_(engine, host=chosen["host"], port=port, token=token, grace=grace, say=_say)
    finally:
        engine.close(grace=0)


@described(ServerOptions, ModelOptions, Limits, only=_OPTIONS, panels=PANELS)
def web(
    port: Port = 7860,
    auth: Annotated[
        str | None,
        typer.Option(
            envvar="LPNSR_AUTH", help="Login for visitors, as USER:PASSWORD.", metavar="TEXT", rich_help_panel=NETWORK
        ),
    ] = None,
    max_upload: MaxUpload = 50,
    max_batch: Annotated[
        int,
        typer.Option(
            min=1, help="Maximum size of the files of a batch, or of a zip file, in MiB.", rich_help_panel=LIMITS
        ),
    ] = 500,
    **chosen: Any,
) -> None:
    """Upscale in a browser: lpnsr web, then open http://127.0.0.1:7860

    One photograph with a before/after slider, batches, and a look at the steps of the chain. Without -n, the page
    offers every model that lpnsr models list shows as available.
    """
    login = _login(auth)
    with _extra("web"):
        from lpnsr.apps.web.app import serve as serve_
    from lpnsr.apps.web.desk import Desk
    from lpnsr.apps.web.fleet import Fleet

    models, devices, limits = _settings(chosen, max_upload, offer=True)
    desk = Desk(Fleet.of(models, devices, dtype=chosen["dtype"], limits=limits), max_batch=max_batch * 2**20)
    try:
        _warn_if_open(chosen["host"], login, "page; --auth USER:PASSWORD")
        serve_(desk, host=chosen["host"], port=port, login=login, say=_say)
    finally:
        desk.close()


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Turn the lack of a package within into a MissingExtraError."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lpnsr"):
            raise
        raise MissingExtraError(name, str(error.name)) from None


def _settings(chosen: dict[str, Any], max_upload: int, *, offer: bool = False) -> tuple[Models, list[str], Limits]:
    """Models, devices and limits of a server; ``max_upload`` in MiB. offer: all models, where none is named.

    Raises ConfigError, CheckpointError.
    """
    from lpnsr.apps.jobs import Models
    from lpnsr.checkpoints.locate import known_models
    from lpnsr.system.memory import parse_memory

    if chosen["memory"] is not None:
        parse_memory(chosen["memory"])
    limits = parsed(Limits, chosen | {"max_upload": max_upload * 2**20})
    known = known_models(chosen["cache_dir"]) if offer and not chosen["model"] else []
    offered = {model.name: model.where for model in known if model.available}
    of_models = {name: chosen[name] for name in _OF_MODELS}
    models = Models(chosen["model"] or [DEFAULT_MODEL], offered=offered, **of_models)
    return models, chosen["device"] or ["auto"], limits


def _warn_if_open(host: str, guard: object, what: str) -> None:
    from lpnsr.apps.network import LOCAL

    if guard is None and host not in LOCAL:
        _say(f"warning: everybody who reaches {host} can use this {what} keeps others out")


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _login(auth: str | None) -> tuple[str, str] | None:
    if auth is None:
        return None
    user, colon, password = auth.partition(":")
    if not (user and colon and password):
        raise ConfigError("--auth: a user and a password with a colon between them are needed, USER:PASSWORD")
    return user, password
