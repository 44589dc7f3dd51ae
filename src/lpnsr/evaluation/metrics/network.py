"""Libraries that download: without a network they give up within seconds, not after minutes of retries."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Thread
from typing import NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

PATIENCE = 5.0
"""Seconds for the hub to answer."""


class _Refused(urllib.request.BaseHandler):
    """A handler that answers every request with an error."""

    def default_open(self, _: urllib.request.Request) -> NoReturn:
        raise URLError("there is no network")


@contextmanager
def offline_if_silent() -> Iterator[str | None]:
    """Give the name of the Hugging Face hub's host if it does not answer, and then keep libraries offline.

    A file that is on this machine is still found. A download fails at once, as an OSError.
    """
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE
    if offline or answers(constants.ENDPOINT):
        yield None
        return
    constants.HF_HUB_OFFLINE = True
    urllib.request.install_opener(urllib.request.build_opener(_Refused()))
    try:
        yield urlsplit(constants.ENDPOINT).hostname
    finally:
        constants.HF_HUB_OFFLINE = offline
        urllib.request.install_opener(urllib.request.build_opener())


@cache
def answers(url: str) -> bool:
    """Tell whether the host answers within ``PATIENCE`` seconds, through the user's proxy if there is one."""
    said: list[bool] = []
    # A thread that may be left behind: looking up a name knows no timeout.
    thread = Thread(target=lambda: said.append(is_reachable(url)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return said == [True]


def is_reachable(url: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE).close()
    except HTTPError:  # an answer, if no kind one
        return True
    except (OSError, ValueError):
        return False
    return True
