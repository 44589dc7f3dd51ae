"""``lpnsr upscale`` with a tiny model, and pictures for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from lpnsr.apps.cli import app
from lpnsr.upscaling.upscaler import Upscaler

MODEL = "TINY_MODEL"
"""The variable that names the folder of the tiny model: the model of ``run`` where none is given."""


class Watched:
    """What the command asks of Upscaler, which does it all the same. ``before`` is called with all rows."""

    def __init__(self) -> None:
        self.loaded: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.before: Callable[[Any], None] = lambda rows: None
        self.load, self._upscale = Upscaler.from_pretrained, Upscaler.upscale_rows

    def from_pretrained(self, **options: Any) -> Upscaler:
        self.loaded.append(options)
        return self.load(**options)

    def upscale_rows(self, upscaler: Upscaler, rows: Any, **options: Any) -> Any:
        self.asked.append(
            {key: value for key, value in options.items() if key not in ("callback", "scratch", "reserved")}
        )
        self.before(rows)
        return self._upscale(upscaler, rows, **options)


def make(*names: str, size: tuple[int, int] = (10, 12)) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        seed = sum(name.encode())
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(name)


def arguments_of(*arguments: object) -> list[str]:
    """``lpnsr`` with these arguments of ``upscale``, and the tiny model."""
    given = list(map(str, arguments))
    return ["upscale", *given, *([] if {"-n", "--model"} & {*given} else ["-n", os.environ[MODEL]])]


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, arguments_of(*arguments), prog_name="lpnsr")
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def files(folder: Path | str) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())
