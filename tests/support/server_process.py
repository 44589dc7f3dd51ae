"""Servers in processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx

from support.jobs import until


@contextmanager
def server_process(
    log: Path, *arguments: str, **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """Run Python with ``arguments``; give the process, and a client of the URL that it writes into its log."""
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, *arguments], stderr=file, env=os.environ | environment)
    try:
        until(lambda: process.poll() is not None or b"http://" in log.read_bytes(), 120)
        address = re.search(r"http://[\d.:]+", log.read_text())
        assert address, log.read_text()
        with httpx.Client(base_url=address[0], timeout=120) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text(), log.read_text()
