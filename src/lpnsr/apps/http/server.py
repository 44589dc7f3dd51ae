"""The process: uvicorn around the application, and a shutdown that loses no job."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from lpnsr.apps.http.app import create_app
from lpnsr.apps.jobs import Engine, State
from lpnsr.apps.network import AnnouncedServer, listen

_LAST_ANSWERS = 5  # seconds for answers that are under way when everything else has ended
_LAST_STEP = 0.5  # seconds for a job to notice that it is to stop; a step of the model can take a minute
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
    ``Engine.finish``, and for clients to fetch what is done; a second signal ends that time. If a device is still at
    work then, the process ends here and does not wait for it. Raises ConfigError.
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
    if engine.finished and engine.at_work:  # a thread that nothing else can stop
        engine.close()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


class _Server(AnnouncedServer):
    def __init__(
        self, config: uvicorn.Config, engine: Engine, fetched: set[str], grace: float, say: Callable[[str], None]
    ) -> None:
        super().__init__(config, lambda address: say(f"listening on {address} (its interface: /docs)"))
        self._engine, self._fetched, self._grace, self._say = engine, fetched, grace, say
        self._signals = 0
        self._hurry = threading.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end the server, which goes on answering while there is work; uvicorn's own would stop at once."""
        self._signals += 1
        if self._signals == 1:
            threading.Thread(target=self._end, daemon=True).start()
        else:
            self.config.timeout_graceful_shutdown = 1
            self.force_exit = self.should_exit
            self._hurry.set()

    def _end(self) -> None:
        self._say(
            f"ending: no more jobs are taken, and those at hand have {self._grace:g} s; a second signal ends at once"
        )
        until = time.monotonic() + self._grace
        pending = self._engine.unfinished()
        patient = {"patience": _LAST_STEP}
        working = threading.Thread(target=self._engine.finish, args=(self._grace,), kwargs=patient, daemon=True)
        working.start()
        while working.is_alive() and not self._engine.finished:
            if self._hurry.wait(_GLANCE):
                self._engine.finish(0, **patient)
        while not self._engine.store.kept and time.monotonic() < until and self._to_be_fetched(pending):
            if self._hurry.wait(_GLANCE):
                break
        self.should_exit = True

    def _to_be_fetched(self, jobs: list[str]) -> bool:
        """Tell whether one of these jobs is done and its result not fetched, so that it would be lost."""
        return any(job not in self._fetched and self._engine.status(job).state is State.DONE for job in jobs)
