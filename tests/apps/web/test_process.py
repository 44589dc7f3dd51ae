"""``lpnsr web`` as a process that is killed in the middle of a job, and the next one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="needs the extra web")

import httpx2 as httpx

from support.jobs import picture
from support.server_process import server_process
from support.tiny_model import tiny_upscaler

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


def _server(model: Path, temporary: Path) -> AbstractContextManager[tuple[subprocess.Popen[bytes], httpx.Client]]:
    command = ("-m", "lpnsr", "web", "--port", "0", "-n", str(model), "--device", "cpu")
    return server_process(temporary.with_suffix(".log"), *command, TMPDIR=str(temporary))


def _begin(client: httpx.Client, side: int) -> None:
    """What the page sends for a photograph and its settings when Upscale is clicked."""
    config = client.get("/config").json()
    parts = {part["id"]: part for part in config["components"]}
    button = next(id_ for id_, part in parts.items() if part["props"].get("elem_id") == "run")
    handler = next(each for each in config["dependencies"] if [button, "click"] in each["targets"])
    files = {"files": ("photo.png", picture(size=(side, side)), "image/png")}
    uploaded = client.post("/gradio_api/upload", files=files)
    assert uploaded.status_code == 200, uploaded.text
    photo = {"path": uploaded.json()[0], "orig_name": "photo.png", "meta": {"_type": "gradio.FileData"}}
    values: list[Any] = [parts[id_]["props"].get("value") for id_ in handler["inputs"]]
    body = {"data": [photo, *values[1:]], "fn_index": handler["id"], "session_hash": "visitor"}
    assert client.post("/gradio_api/queue/join", json=body).status_code == 200


def _followed(client: httpx.Client) -> Iterator[str]:
    """What the page is told of its job, until it has ended."""
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": "visitor"}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                yield line
                if json.loads(line[5:])["msg"] == "process_completed":
                    return


@pytest.mark.slow
def test_killed_in_the_middle_of_a_job(tmp_path: Path) -> None:
    """The page is gone with its process; the next process deletes what that left, and serves."""
    model, temporary = tmp_path / "tiny", tmp_path / "temporary"
    tiny_upscaler().save_pretrained(model)
    temporary.mkdir()
    with _server(model, temporary) as (process, client):
        _begin(client, 128)
        assert any("Working: " in line for line in _followed(client))
        process.kill()
        process.wait()
    left = {*temporary.glob("lpnsr-jobs-*")}
    assert [*temporary.glob("lpnsr-jobs-*/jobs/*/input")]
    assert not [*temporary.glob("lpnsr-jobs-*/jobs/*/result*")]
    for folder in left:
        os.utime(folder / "lock", (0, 0))  # as if a minute had passed: one that is younger may be starting
    with _server(model, temporary) as (process, client):
        assert not left & {*temporary.iterdir()}
        _begin(client, 16)
        assert any("64 x 64" in line for line in [*_followed(client)])
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert not [*temporary.glob("lpnsr-jobs-*")]
