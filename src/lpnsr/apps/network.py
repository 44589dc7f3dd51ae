"""Sockets that listen, and the process of a server."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from lpnsr.errors import ConfigError

LOCAL = ("127.0.0.1", "::1", "localhost")
"""Hosts that only this machine reaches."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 for any that is free. Raises ConfigError."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {error}; choose others with --host and --port"
        ) from None


def address(listening: socket.socket) -> str:
    """The URL of a socket that listens."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class AnnouncedServer(uvicorn.Server):
    """A server that calls ``announce`` with its URL once it listens."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[str], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started and sockets:
            self._announce(address(sockets[0]))
