"""``lpnsr serve`` with a state folder on a disk that becomes full: a job fails, and the server goes on."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from lpnsr.apps.http.app import create_app
from lpnsr.apps.jobs import Engine, Models
from support.jobs import picture, until
from support.small_disk import SmallDisk, contents, fill
from support.tiny_model import tiny_upscaler


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_upscaler().save_pretrained(folder)
    return folder


def noise(side: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def post(client: TestClient, data: bytes, code: int = 202) -> dict[str, str]:
    answer = client.post("/v1/jobs", files={"image": ("photo.png", data)}, data={"steps": "0"})
    assert answer.status_code == code, answer.text
    return dict(answer.json())


def ended(client: TestClient, job: str) -> dict[str, str]:
    until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] not in ("queued", "running"), 120)
    return dict(client.get(f"/v1/jobs/{job}").json())


def test_a_job_fails_and_the_server_goes_on(model: Path, small_disk: SmallDisk) -> None:
    disk = small_disk(64)
    with TestClient(create_app(Engine(Models([str(model)]), devices=["cpu"], state_dir=disk))) as client:
        first = post(client, picture())["id"]
        assert ended(client, first)["state"] == "done"
        whole = client.get(f"/v1/jobs/{first}/result").content

        failed = post(client, noise(64))["id"]
        status = ended(client, failed)
        assert (status["state"], status["error"]) == (
            "failed",
            "photo.png: the disk is full; make room or write elsewhere",
        )
        until(lambda: [*contents(disk / "jobs" / failed)] == ["job.json"])

        filler = fill(disk)
        problem = post(client, picture(), 507)
        assert problem["detail"] == "the upload cannot be stored: No space left on device"
        assert sorted(path.name for path in (disk / "jobs").iterdir()) == sorted([first, failed])
        assert client.get(f"/v1/jobs/{first}/result").content == whole
        filler.unlink()

        again = post(client, picture())["id"]
        assert ended(client, again)["state"] == "done"
        assert client.get(f"/v1/jobs/{first}/result").content == whole


def test_what_could_not_be_noted_is_noted_when_there_is_room(model: Path, small_disk: SmallDisk) -> None:
    """Else the next process would begin a job again whose input is gone."""
    disk = small_disk(64)
    with TestClient(create_app(Engine(Models([str(model)]), devices=["cpu"], state_dir=disk))) as client:
        job = post(client, noise(64))["id"]
        until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] != "queued", 120)
        filler = fill(disk)
        assert ended(client, job)["state"] == "failed"
        filler.unlink()
        kept = disk / "jobs" / job / "job.json"
        until(lambda: json.loads(kept.read_bytes())["state"] == "failed")
