"""Arguments such as NAME=PATH, and progress bars, which several commands have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lpnsr.errors import ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress


def named(texts: Sequence[str] | None, option: str, *, unnamed: bool = False) -> dict[str, str]:
    """Split arguments NAME=VALUE. unnamed: a VALUE alone is named by its last part. Raises ConfigError."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        path = Path(text)
        if unnamed and (not sign or path.exists()):
            name, value = (path.resolve() if path.exists() else path).name, text
        if not name or not value:
            raise ConfigError(f"{option} {text!r}: NAME=PATH is needed")
        if name in found:
            raise ConfigError(f"{option} {text} and {found[name]} have one name, {name}: give each as NAME=...")
        found[name] = value
    return found


def bars(*, hidden: bool = False) -> Progress:
    """Progress bars on standard error, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, disable=hidden or not console.is_terminal)
