"""The process: uvicorn around the page."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import uvicorn

from lpnsr.apps.network import address, listen
from lpnsr.apps.web.app import create_app
from lpnsr.apps.web.desk import Desk

_LAST_ANSWERS = 2  # seconds for answers that are under way when the server is to end


def serve(
    desk: Desk,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    login: tuple[str, str] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until SIGINT or SIGTERM, which end what is at work. port: 0 for any. say: is told the address.

    Raises ConfigError.
    """
    listening = listen(host, port)
    config = uvicorn.Config(
        create_app(desk, login=login),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_LAST_ANSWERS,
    )
    server = _Server(config, say)
    # Pages that are open are cut off at the end, which is no error.
    logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
    server.run(sockets=[listening])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, say: Callable[[str], None]) -> None:
        super().__init__(config)
        self._say = say

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            self._say(f"open {address(sockets[0])} in a browser; Ctrl+C ends it")
