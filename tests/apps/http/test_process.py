"""``lpnsr serve`` as a process: signals, sudden death, and what the next one finds."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from PIL import Image

from support.jobs import colour_of, picture, until
from support.repository import REPOSITORY
from support.server_process import server_process

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
COLOURS = [(200, 30, 60), (20, 160, 90), (40, 70, 220)]


@contextmanager
def _server(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """A process that listens and is ready, and a client of it."""
    command = ("-m", "lpnsr", "serve", "--model", "lite", "--port", "0", "--device", "cpu", *options)
    with server_process(folder / "log", *command) as (process, client):
        until(lambda: client.get("/health").status_code == 200, 120)
        yield process, client
        assert process.poll() is not None, "this test leaves its server alone"


def _submit(client: httpx.Client, colour: tuple[int, int, int], side: int = 24, **options: Any) -> str:
    answer = client.post("/v1/jobs", files={"image": ("a.png", picture(colour, (side, side)))}, data=options)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _state(client: httpx.Client, job: str) -> str:
    return str(client.get(f"/v1/jobs/{job}").json()["state"])


def _check(client: httpx.Client, job: str, colour: tuple[int, int, int]) -> None:
    until(lambda: _state(client, job) == "done", 200)
    got = colour_of(client.get(f"/v1/jobs/{job}/result").content)
    assert max(abs(a - b) for a, b in zip(got, colour, strict=True)) < 12


def _example(client: httpx.Client, source: str | Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(REPOSITORY / "examples" / "scripts" / "http_client.py"),
        str(client.base_url).rstrip("/"),
    ]
    return subprocess.run([*command, str(source), str(target)], capture_output=True, text=True)


def test_no_job_is_lost_by_a_kill_or_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state"
    options = ("--state-dir", str(state), "--grace", "1000")
    with _server(tmp_path, *options) as (process, client):
        early = _submit(client, (90, 90, 90))
        _check(client, early, (90, 90, 90))
        jobs = [_submit(client, COLOURS[0], 96), *(_submit(client, colour) for colour in COLOURS[1:])]
        until(lambda: _state(client, jobs[0]) == "running")
        process.kill()
        process.wait()
    with _server(tmp_path, *options) as (process, client):
        assert _state(client, early) == "done"
        for job, colour in zip(jobs, COLOURS, strict=True):
            _check(client, job, colour)
            until(
                lambda job=job: sorted(p.name for p in (state / "jobs" / job).iterdir()) == ["job.json", "result.png"]
            )
        assert json.loads((state / "jobs" / jobs[0] / "job.json").read_text())["attempts"] == 2
        _check(client, early, (90, 90, 90))
        kept = [_submit(client, COLOURS[0], 96) for _ in range(4)]
        process.send_signal(signal.SIGINT)
        until(lambda: client.get("/health").status_code == 503)
        process.send_signal(signal.SIGINT)  # no 1000 s, then
        assert process.wait(100) == 0
    states = [json.loads((state / "jobs" / job / "job.json").read_text())["state"] for job in kept]
    assert set(states) <= {"done", "queued"}
    assert states[-1] == "queued"  # for the next


def test_the_example_client_and_an_end_without_a_state_folder(tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(picture(COLOURS[0]))
    with _server(tmp_path, "--grace", "100") as (process, client):
        made = _example(client, tmp_path / "in.png", tmp_path / "out.png")
        assert made.returncode == 0, made.stderr
        with Image.open(tmp_path / "out.png") as image:
            assert image.size == (48, 40)
        refused = _example(client, __file__, tmp_path / "no.png")
        assert refused.returncode == 1
        assert "not an image" in refused.stderr
        jobs = [_submit(client, COLOURS[0], 96), _submit(client, COLOURS[1])]
        until(lambda: _state(client, jobs[0]) == "running")
        process.send_signal(signal.SIGTERM)
        until(lambda: client.get("/health").status_code == 503)
        assert client.post("/v1/jobs", files={"image": ("a.png", picture())}).status_code == 503
        for job, colour in zip(jobs, COLOURS, strict=False):
            _check(client, job, colour)
        assert process.wait(100) == 0


_STUCK = """
import sys, threading
sys.path.insert(0, {tests!r})
from support.jobs import FakeModels, engine
from lpnsr.apps.http.server import serve
models = FakeModels()
models.behaviour = lambda photo: threading.Event().wait()
say = lambda text: print(text, file=sys.stderr, flush=True)
serve(engine(models, state_dir={state!r}), port=0, grace={grace}, say=say)
"""


@pytest.mark.parametrize("state", [None, "state"])
@pytest.mark.parametrize("grace", [0.1, 1000])
def test_a_step_that_never_ends_does_not_keep_the_process(tmp_path: Path, state: str | None, grace: float) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    state = state and str(tmp_path / state)
    code = _STUCK.format(tests=str(REPOSITORY / "tests"), state=state, grace=grace)
    with server_process(tmp_path / "log", "-c", code, TMPDIR=str(temporary)) as (process, client):
        job = _submit(client, COLOURS[0])
        until(lambda: client.get(f"/v1/jobs/{job}").json()["progress"] == 1)
        process.send_signal(signal.SIGTERM)
        if grace > 100:
            until(lambda: client.get("/health").status_code == 503)
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert [*temporary.iterdir()] == []
    if state is not None:
        kept = json.loads((Path(state) / "jobs" / job / "job.json").read_text())
        assert (kept["state"], kept["attempts"]) == ("queued", 0)


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-c", "from lpnsr.apps.cli import main; main()", "serve", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
    assert [*tmp_path.iterdir()] == []
