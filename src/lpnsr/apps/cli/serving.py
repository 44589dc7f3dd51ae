"""Options that ``lpnsr serve`` and ``lpnsr web`` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lpnsr.upscaling.options import DEFAULT_MODEL

if TYPE_CHECKING:
    from lpnsr.apps.jobs import Limits, Models

NETWORK, MODEL, MACHINE, LIMITS = PANELS = ("Network", "Model", "Machine", "Limits")
OF_MODELS = ("dtype", "memory", "cache_dir")

Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.", rich_help_panel=NETWORK)]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 for any free one.", rich_help_panel=NETWORK)]
ModelNames = Annotated[
    list[str] | None,
    typer.Option("-n", "--model", help="base by default; again for another to choose.", rich_help_panel=MODEL),
]
MaxUpload = Annotated[int, typer.Option(min=1, help="MiB of an image file.", rich_help_panel=LIMITS)]
MaxPixels = Annotated[
    int, typer.Option(min=1, help="Of an image; a result may have 16 times as many.", rich_help_panel=LIMITS)
]
Queue = Annotated[int, typer.Option(min=1, help="Jobs that may wait for a device.", rich_help_panel=LIMITS)]
PerClient = Annotated[
    int | None, typer.Option(min=1, help="Jobs of one address that may wait or run.", rich_help_panel=LIMITS)
]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds that a job may run.", rich_help_panel=LIMITS)]
Ttl = Annotated[float, typer.Option(min=1, help="Seconds that files are kept.", rich_help_panel=LIMITS)]


def models_of(names: list[str] | None, chosen: dict[str, Any]) -> Models:
    """Models to choose from, with the options OF_MODELS. Raises ConfigError for a memory that is no size."""
    from lpnsr.apps.jobs import Models
    from lpnsr.system.memory import parse_memory

    if chosen["memory"] is not None:
        parse_memory(chosen["memory"])
    return Models(names or [DEFAULT_MODEL], **chosen)


def limits_of(
    max_upload: int, max_pixels: int, queue: int, per_client: int | None, timeout: float, ttl: float
) -> Limits:
    """From the options; max_upload in MiB."""
    from lpnsr.apps.jobs import Limits

    return Limits(
        max_upload=max_upload * 2**20,
        max_pixels=max_pixels,
        queue=queue,
        owner_queue=per_client,
        timeout=timeout,
        ttl=ttl,
    )


def say(text: str) -> None:
    """To the operator."""
    typer.echo(text, err=True)
