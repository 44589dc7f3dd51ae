"""Libraries that download: without a network they are to give up within seconds, not after a minute of trying again."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

PATIENCE = 5.0
"""Seconds for a host to answer."""


@contextmanager
def impatient() -> Iterator[list[str]]:
    """While it lasts, urllib and huggingface_hub fail at once on hosts that do not answer; gives a list of these.

    What is on this machine already is found as ever. It acts on the whole process.
    """
    from huggingface_hub import constants

    silent: list[str] = []
    opener, offline = urllib.request._opener, constants.HF_HUB_OFFLINE  # type: ignore[attr-defined]
    urllib.request.install_opener(_Impatient(opener or urllib.request.build_opener(), silent))
    if not offline and not answers(constants.ENDPOINT):
        silent.append(str(urlsplit(constants.ENDPOINT).hostname))
        constants.HF_HUB_OFFLINE = True
    try:
        yield silent
    finally:
        constants.HF_HUB_OFFLINE = offline
        urllib.request.install_opener(opener)


def answers(url: str) -> bool:
    """Whether the host of ``url`` says anything within ``PATIENCE`` seconds, through the user's proxy if there is one.

    It is asked once a minute.
    """
    parts = urlsplit(url)
    return _answers(f"{parts.scheme}://{parts.netloc}", int(time.monotonic() // 60))


@lru_cache(maxsize=64)
def _answers(address: str, minute: int) -> bool:
    said: list[bool] = []
    # A thread that may be left behind: looking up a name knows no timeout.
    thread = Thread(target=lambda: said.append(_asked(address)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return said == [True]


def _asked(address: str) -> bool:
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.build_opener().open(request, timeout=PATIENCE).close()
    except HTTPError:  # an answer, if no kind one
        return True
    except (OSError, ValueError):
        return False
    return True


class _Impatient(urllib.request.OpenerDirector):
    """An opener that asks first."""

    def __init__(self, inner: urllib.request.OpenerDirector, silent: list[str]) -> None:
        super().__init__()
        self._inner = inner
        self._silent = silent

    def open(self, fullurl: Any, *arguments: Any, **options: Any) -> Any:
        url = fullurl if isinstance(fullurl, str) else fullurl.full_url
        host = urlsplit(url).hostname
        if host and not answers(url):
            if host not in self._silent:
                self._silent.append(host)
            raise URLError(f"{host} does not answer")
        return self._inner.open(fullurl, *arguments, **options)
