"""Libraries that download: without a network they are to give up within seconds, not after minutes of trying again."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Thread
from typing import Any, NoReturn
from urllib.error import HTTPError
from urllib.parse import urlsplit

PATIENCE = 5.0
"""Seconds for the hub to answer."""


@contextmanager
def offline_if_silent() -> Iterator[str | None]:
    """Gives the name of the Hugging Face hub's host if it does not answer, and then keeps this process offline.

    What is on this machine already is found as ever; what would have to be fetched fails at once, as an OSError.
    """
    from huggingface_hub import constants

    offline, look_up = constants.HF_HUB_OFFLINE, socket.getaddrinfo
    if offline or _answers(constants.ENDPOINT):
        yield None
        return
    constants.HF_HUB_OFFLINE = True
    socket.getaddrinfo = _refuse
    try:
        yield urlsplit(constants.ENDPOINT).hostname
    finally:
        constants.HF_HUB_OFFLINE, socket.getaddrinfo = offline, look_up


@cache
def _answers(url: str) -> bool:
    """Whether the host says anything within ``PATIENCE`` seconds, through the user's proxy if there is one."""
    said: list[bool] = []
    # A thread that may be left behind: looking up a name knows no timeout.
    thread = Thread(target=lambda: said.append(_asked(url)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return said == [True]


def _asked(url: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE).close()
    except HTTPError:  # an answer, if no kind one
        return True
    except (OSError, ValueError):
        return False
    return True


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise socket.gaierror(socket.EAI_AGAIN, "there is no network")
