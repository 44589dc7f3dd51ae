"""The ``lpnsr`` command. Only what its help needs is imported here; torch comes with the command that uses it."""

from __future__ import annotations

import inspect
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lpnsr.apps.cli import bench, compare, degrade, evaluate, export, models, reproduce, serve, train, upscale, video
from lpnsr.apps.cli.signals import signals_end
from lpnsr.apps.cli.streams import Output, open_standard_streams
from lpnsr.errors import ConfigError, LicenceError, LpnsrError, LpnsrWarning, OutputError

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class _Guarded(TyperGroup):
    """Turns what a command raises into one line and an exit code; wraps the paragraphs of help to the terminal."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        for each in (command, *getattr(command, "commands", {}).values()):
            if each is not None and each.help:
                each.help = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(each.help))
        return command

    def invoke(self, ctx: Any) -> Any:
        try:
            with _plain_warnings(), signals_end():
                super().invoke(ctx)
                sys.stdout.flush()
        except KeyboardInterrupt:
            raise _stop("interrupted", INTERRUPTED) from None
        except LpnsrError as error:
            if ctx.params.get("debug"):
                raise
            asked = isinstance(error, ConfigError | LicenceError)  # of the user
            raise _stop(f"error: {error}", USAGE if asked else FAILED) from None
        except Exception as error:
            from_typer = type(error).__module__.split(".")[0] in ("click", "typer")
            if ctx.params.get("debug") or from_typer or isinstance(error, BrokenPipeError):
                raise
            text = " ".join(str(error).split()) or "no message"
            raise _stop(
                f"error: unexpected {type(error).__name__}: {text}\n"
                "This is a bug. Please report it with the output of: lpnsr --debug " + " ".join(sys.argv[1:]),
                FAILED,
            ) from None


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings of ours as one line, without the place in the source."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if issubclass(category, LpnsrWarning):
            with suppress(OSError):  # nobody listens
                typer.echo(f"warning: {message}", err=True)
        else:
            usual(message, category, *place)

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _stop(message: str, code: int) -> typer.Exit:
    with suppress(OSError):  # nobody listens
        typer.echo(message, err=True)
    return typer.Exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        from lpnsr import __version__

        typer.echo(f"lpnsr {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=_Guarded,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(upscale.upscale)
app.command()(video.video)
app.command()(train.train)
app.command()(degrade.degrade)
app.command()(evaluate.evaluate)
app.command()(compare.compare)
app.command()(reproduce.reproduce)
app.command()(export.export)
app.command()(serve.serve)
app.command()(serve.web)
app.command()(bench.bench)
app.add_typer(models.app, name="models")


@app.callback()
def lpnsr(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks instead of short messages.")] = False,
) -> None:
    """4x super-resolution of real photographs in four diffusion steps."""


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 something failed, 2 wrong usage, 130 interrupted, 143 ended."""
    open_standard_streams()
    Output.install()
    # Read when torch is loaded: threads of OpenMP that have nothing to do are not to keep busy what others need.
    # For some tens of microseconds they stay awake: a small network's next layer comes sooner than a sleeping thread.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        app()
    except OutputError as error:  # of --version and --help, which are no commands
        _stop(f"error: {error}", FAILED)
        sys.exit(FAILED)
