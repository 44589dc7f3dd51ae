"""Queues of jobs around a stand-in for the model, which enlarges by repetition when it is let."""

from __future__ import annotations

import io
import struct
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from lpnsr.apps.jobs import Engine, Limits, Models, State, Status
from lpnsr.checkpoints import ModelSpec
from lpnsr.errors import LpnsrWarning
from lpnsr.imaging import PhotoRows, resize
from lpnsr.upscaling.upscaler import Options

TILES = 3


class FakeModels(Models):
    """Serves ``lite`` (and what else is named) without loading it. While ``gate`` is not set, jobs stay in their first
    tile; ``at_work`` counts those that are there. ``behaviour`` is called with every photo.
    """

    def __init__(self, *names: str) -> None:
        super().__init__(["lite"])
        self.names = names or ("lite",)
        self.specs = {name: self.specs["lite"].model_copy(update={"name": name}) for name in self.names}
        self.gate = threading.Event()
        self.gate.set()
        self.loaded: list[tuple[str, str]] = []
        self.most_at_work = self.at_work = 0
        self.behaviour: Callable[[Any], None] = lambda photo: None

    def load(self, name: str, device: str) -> Any:
        self.loaded.append((name, device))
        spec = self.specs[name]
        upscale = partial(self._upscale, spec)
        return SimpleNamespace(spec=spec, parts=spec.parts, memory=None, scale=spec.scale, upscale_rows=upscale)

    def _upscale(
        self, spec: ModelSpec, rows: PhotoRows, *, callback: Any, scratch: Any, reserved: int, **options: Any
    ) -> PhotoRows:
        photo = rows.whole()
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            for done in range(TILES + 1):
                callback(SimpleNamespace(done=done, total=TILES, step=None))
                while not self.gate.wait(0.01):
                    callback(SimpleNamespace(done=done, total=TILES, step=None))
            self.behaviour(photo)
        finally:
            self.at_work -= 1
        size = Options.parse(options, "fake").output_size((photo.height, photo.width), spec.scale)
        return PhotoRows.of(replace(photo, pixels=resize(photo.pixels, size), alpha=None))


def engine(models: Models | None = None, **settings: Any) -> Engine:
    limits = {name: settings.pop(name) for name in [*settings] if name in Limits.model_fields}
    return Engine(models or FakeModels(), limits=Limits(**limits), devices=("cpu",), **settings)


def picture(
    colour: tuple[int, int, int] = (10, 120, 230), size: tuple[int, int] = (12, 10), kind: str = "PNG", **save: Any
) -> bytes:
    """A file of one colour; width and height."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind, **save)
    return out.getvalue()


def declaring(width: int, height: int, zeros: int = 10) -> bytes:
    """A PNG file whose header declares this size, and whose data are so many zeros."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(zeros)))]
    parts = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def colour_of(data: bytes) -> tuple[int, int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return tuple(int(v) for v in np.asarray(image.convert("RGB"))[0, 0])


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this never came about"
        time.sleep(0.01)


def ended(engine: Engine, job: str) -> Status:
    until(lambda: engine.status(job).state.ended)
    return engine.status(job)


def running(engine: Engine, job: str) -> None:
    until(lambda: engine.status(job).state is State.RUNNING)


def warn(text: str) -> None:
    warnings.warn(text, LpnsrWarning, stacklevel=2)
