"""``lpnsr serve`` and ``lpnsr web``: what the commands say before a server begins."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("missing", "arguments", "code", "words"),
    [
        ("uvicorn", ["serve"], 1, "pip install 'lpnsr[serve]'"),
        ("gradio", ["web"], 1, "pip install 'lpnsr[web]'"),
        ("", ["web", "--auth", "nocolon"], 2, "USER:PASSWORD"),
        ("", ["serve", "--timeout", "0"], 2, "timeout = 0.0: should be greater than 0"),
    ],
)
def test_what_is_wrong_is_one_line(missing: str, arguments: list[str], code: int, words: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None\nfrom lpnsr.apps.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
