"""The guard around the page: who may come in, what may be sent, which files there are."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from lpnsr.apps.web.guard import Guard


def _guarded(tmp_path: Path, **how: Any) -> TestClient:
    app = PlainTextResponse("in")
    settings = {"folders": (tmp_path,), "login": None, "max_upload": 1000, "room": lambda: True} | how
    return TestClient(Guard(app, **settings))


def test_a_password_is_needed_everywhere(tmp_path: Path) -> None:
    client = _guarded(tmp_path, login=("anna", "se:cret"))
    for path in ("/", "/config", "/assets/x.js", "/gradio_api/queue/data", "/gradio_api/heartbeat/x", "/nothing"):
        for header in ("", "Basic", "Basic %%%", "Basic " + base64.b64encode(b"anna:wrong").decode(), "Bearer x"):
            answer = client.get(path, headers={"Authorization": header})
            assert (answer.status_code, answer.text == "in") == (401, False), path
            assert answer.headers["www-authenticate"].startswith("Basic")
    assert client.get("/", auth=("anna", "se:cret")).text == "in"


def test_what_is_sent_is_counted(tmp_path: Path) -> None:
    assert _guarded(tmp_path).post("/gradio_api/upload", content=bytes(100_000)).status_code == 413
    assert _guarded(tmp_path, room=lambda: False).post("/gradio_api/upload", content=b"a").status_code == 507
    assert _guarded(tmp_path).post("/gradio_api/upload", content=b"a").text == "in"
    seen = []

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            seen.append(len(message["body"]))
            if not message.get("more_body"):
                break
        await PlainTextResponse(message["type"])(scope, receive, send)

    guard = Guard(reads, folders=(), login=None, max_upload=1000, room=lambda: True)
    answer = TestClient(guard).post("/gradio_api/upload", content=(bytes(10_000) for _ in range(50)))
    assert (answer.text, sum(seen) < 100_000) == ("http.disconnect", True)


def test_calls_name_files_that_are_here(tmp_path: Path) -> None:
    client, here = _guarded(tmp_path), str(tmp_path / "a.png")
    deep: Any = {"path": "/etc/passwd"}
    for _ in range(100):
        deep = [{"a": deep}]
    for call, status in (
        ({"data": [{"path": here}, 3, None]}, 200),
        ({"data": [{"path": f"{tmp_path}/../x"}]}, 400),
        ({"data": [{"path": str(tmp_path)}]}, 400),
        ({"data": [{"path": "http://example.com"}]}, 400),
        ({"data": [{"path": 7}]}, 400),
        (deep, 400),
    ):
        assert client.post("/gradio_api/queue/join", json=call).status_code == status, call
    assert client.post("/gradio_api/run/predict", content=b"{").status_code == 400
