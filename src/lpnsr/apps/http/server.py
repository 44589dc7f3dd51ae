"""The process: uvicorn around the application, with an end in which no job is lost."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from lpnsr.apps.http.app import create_app
from lpnsr.apps.jobs import Engine, State
from lpnsr.apps.network import address, listen

_LAST_ANSWERS = 5  # seconds for answers that are under way when everything else has ended
_GLANCE = 0.1


def serve(
    engine: Engine,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    grace: float = 30.0,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until SIGINT or SIGTERM. port: 0 for any that is free. say: is told the address, and of the end.

    At the first signal no more jobs are taken (503), and ``grace`` seconds are left for those at hand, see
    ``Engine.close``, and for clients to fetch what is done; a second signal ends that time. Raises ConfigError.
    """
    listening = listen(host, port)
    app = create_app(engine, token=token)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_LAST_ANSWERS,
    )
    _Server(config, engine, app.state.fetched, grace, say).run(sockets=[listening])


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, engine: Engine, fetched: set[str], grace: float, say: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._engine, self._fetched, self._grace, self._say = engine, fetched, grace, say
        self._signals = 0
        self._hurry = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            self._say(f"listening on {address(sockets[0])} (its interface: /docs)")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Not uvicorn's, which would stop answering while there is still work."""
        self._signals += 1
        if self._signals == 1:
            threading.Thread(target=self._end, daemon=True).start()
        else:
            self._hurry.set()

    def _end(self) -> None:
        self._say(
            f"ending: no more jobs are taken, and those at hand have {self._grace:g} s; a second signal ends at once"
        )
        until = time.monotonic() + self._grace
        pending = self._engine.unfinished()
        working = threading.Thread(target=self._engine.finish, args=(self._grace,), daemon=True)
        working.start()
        while working.is_alive():
            if self._hurry.wait(_GLANCE):
                self._engine.finish(0)
        while not self._engine.keeps and time.monotonic() < until and self._to_be_fetched(pending):
            if self._hurry.wait(_GLANCE):
                break
        self.should_exit = True

    def _to_be_fetched(self, jobs: list[str]) -> bool:
        """Whether one of these is done and nobody has its result, which would be lost with the process."""
        return any(job not in self._fetched and self._engine.status(job).state is State.DONE for job in jobs)
