"""Processes that work for this one and end with it."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any


@dataclass(frozen=True)
class Crew:
    """Processes, and how many calls may wait for them or their results for the one before them."""

    executor: ProcessPoolExecutor
    ahead: int

    def in_order(self, work: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """The results, in the order of the calls."""
        waiting: deque[Future[Any]] = deque()
        for call in calls:
            waiting.append(self.executor.submit(work, *call))
            if len(waiting) > self.ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def make_crew(number: int) -> Iterator[Crew]:
    """Processes that leave Ctrl-C to this one, and end when it does, however it does, or when it is interrupted."""
    context = get_context("spawn")
    end, lifeline = context.Pipe(duplex=False)
    with ProcessPoolExecutor(number, context, _follow, (end,)) as executor:
        try:
            with _interrupts_held_back():  # before ``_follow``, they would meet an import
                for _ in range(number):
                    executor.submit(os.getpid)
            yield Crew(executor, 2 * number)
        except BaseException as error:
            if not isinstance(error, Exception):
                lifeline.close()  # whoever wants to end does not wait for jobs that have begun
            raise
        finally:
            executor.shutdown(cancel_futures=True)
            lifeline.close()
            end.close()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Also from processes that are started now, for good."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow(end: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel, end]), os._exit(1)), daemon=True).start()
