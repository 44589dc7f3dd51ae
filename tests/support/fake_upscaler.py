"""``lpnsr upscale`` around a stand-in for the model, which enlarges by repetition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from lpnsr.apps.cli import app
from lpnsr.errors import CheckpointError
from lpnsr.imaging import PhotoRows, resize


class FakeUpscaler:
    """Records what it is asked; ``behaviour`` may be replaced by a test."""

    loaded: ClassVar[list[dict]] = []
    asked: ClassVar[list[dict]] = []
    behaviour = staticmethod(lambda photo: None)

    @classmethod
    def from_pretrained(cls, model="lite", **options):
        cls.loaded.append({"model": model, **options})
        if model == "absent":
            raise CheckpointError("there is no model 'absent'")
        return cls()

    def upscale_rows(self, rows, *, height, width, callback=None, scratch=None, reserved=0, **options):
        self.asked.append({"height": height, "width": width, **options})
        photo = rows.whole()
        self.behaviour(photo)
        for done in range(3):
            callback(SimpleNamespace(done=done, total=2, step=None))
        alpha = None if photo.alpha is None else resize(photo.alpha, (height, width))
        return PhotoRows.of(replace(photo, pixels=resize(photo.pixels, (height, width)), alpha=alpha), 16)


def fake_module() -> Any:
    """A module to put in the place of ``lpnsr.upscaling.upscaler``, with a stand-in that has recorded nothing yet."""
    module: Any = ModuleType("lpnsr.upscaling.upscaler")
    module.Upscaler = type("Upscaler", (FakeUpscaler,), {"loaded": [], "asked": []})
    module.Options = SimpleNamespace(parse=lambda values, where: None)
    return module


def make(*names: str, size: tuple[int, int] = (10, 12)) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        seed = sum(name.encode())
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(name)


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, ["upscale", *map(str, arguments)], prog_name="lpnsr")
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def files(folder: Path | str) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())
