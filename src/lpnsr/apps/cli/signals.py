"""SIGINT and SIGTERM end a command with what is half done tidied up."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any


def end(number: int, frame: FrameType | None) -> None:
    """A handler that raises what unwinds the command; within an import, which may swallow that and leave a module half
    loaded, it ends the process."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            say("ended" if number == signal.SIGTERM else "interrupted")
            os._exit(128 + number)
        frame = frame.f_back
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process where it is
    raise SystemExit(128 + number)


@contextmanager
def signals_end() -> Iterator[None]:
    """Let both signals end what is inside, where nobody else has taken them."""
    before: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    free = [number for number, usual in before.items() if signal.getsignal(number) == usual]
    if threading.current_thread() is not threading.main_thread():
        free = []
    for number in free:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in free:
            signal.signal(number, before[number])


def say(text: str) -> None:
    """A line on stderr, also from a handler that has interrupted who writes there."""
    with suppress(OSError):
        os.write(2, f"\n{text}\n".encode())
