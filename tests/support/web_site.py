"""The web page around a stand-in for the model, served in a thread of the tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import uvicorn

from lpnsr.apps.jobs import Engine, Limits
from lpnsr.apps.network import address, listen
from lpnsr.apps.web.app import create_app
from lpnsr.apps.web.desk import Desk
from lpnsr.apps.web.fleet import KINDS, Fleet
from lpnsr.checkpoints import ModelSpec
from support.jobs import FakeModels, until
from support.tiny_model import tiny_upscaler


class WebModels(FakeModels):
    """Enlarges by a stand-in, and thinks with a tiny model."""

    def load(self, name: str, device: str) -> Any:
        fake, tiny = super().load(name, device), tiny_upscaler()
        of_tiny = {"restorer": tiny.restorer, "device": tiny.device, "dtype": tiny.dtype}
        return SimpleNamespace(**vars(fake) | of_tiny)


@dataclass(frozen=True)
class Site:
    url: str
    desk: Desk
    models: WebModels

    @property
    def engine(self) -> Engine:
        return self.desk.fleet.first


@contextmanager
def serving(max_batch: int = 2**20, **limits: Any) -> Iterator[Site]:
    models = WebModels("lite", "x2.pth", "broken.pth")
    models.specs["x2.pth"] = ModelSpec(name="x2.pth", licence="", parts={"upsampler": "upsampler"}, scale=2)
    del models.specs["broken.pth"]  # which is looked at, and found broken, when it is chosen
    fleet = Fleet({"cpu": Engine(models, devices=("cpu",), limits=Limits(**limits), kinds=KINDS)})
    desk = Desk(fleet, max_batch=max_batch)
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(create_app(desk), log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        until(lambda: server.started, 60)
        yield Site(address(listening), desk, models)
    finally:
        models.gate.set()
        server.should_exit = True
        thread.join(30)
