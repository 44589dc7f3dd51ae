"""The HTTP interface: what it answers, to friends, crowds and enemies."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.specs.openapi.checks import positive_data_acceptance

from lpnsr.apps.http.app import create_app
from lpnsr.apps.jobs import State, settings_in
from support.jobs import FakeModels, colour_of, declaring, engine, picture, until


@pytest.fixture
def models() -> FakeModels:
    return FakeModels("lite", "other")


@pytest.fixture
def client(models: FakeModels) -> Iterator[TestClient]:
    with _client(models, max_upload=100_000, max_pixels=10_000, queue=30) as client:
        yield client


def _client(models: FakeModels, token: str | None = None, upload_seconds: float = 60, **limits: Any) -> TestClient:
    return TestClient(create_app(engine(models, **limits), token=token, upload_seconds=upload_seconds))


def _post(client: TestClient, data: bytes, name: str = "photo.png", **options: Any) -> Any:
    return client.post("/v1/jobs", files={"image": (name, data)}, data={k: str(v) for k, v in options.items()})


def _ended(client: TestClient, job: str) -> dict[str, Any]:
    until(lambda: State(client.get(f"/v1/jobs/{job}").json()["state"]).ended)
    return client.get(f"/v1/jobs/{job}").json()


def test_from_upload_to_result(client: TestClient) -> None:
    answer = _post(client, picture(), "../../Ärger 1.png", scale=2, seed=5, model="other", format="jpeg", quality="")
    assert answer.status_code == 202
    job = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/jobs/{job}"
    status = _ended(client, job)
    assert (status["state"], status["progress"], status["width"], status["height"]) == ("done", 1.0, 24, 20)
    assert (status["options"]["seed"], status["options"]["model"]) == (5, "other")
    result = client.get(f"/v1/jobs/{job}/result")
    assert result.headers["content-type"] == "image/jpeg"
    assert result.headers["x-content-type-options"] == "nosniff"
    assert "%C3%84rger%201_24x20.jpg" in result.headers["content-disposition"]
    made = settings_in(io.BytesIO(result.content))
    assert made is not None
    assert (made["seed"], made["model"], made["scale"]) == (5, "other", 2.0)
    assert client.delete(f"/v1/jobs/{job}").json()["state"] == "expired"
    assert client.get(f"/v1/jobs/{job}/result").status_code == 410


def test_events_end_with_the_job(client: TestClient, models: FakeModels) -> None:
    models.gate.clear()
    job = _post(client, picture()).json()["id"]
    until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "running")
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(client.get, f"/v1/jobs/{job}/events")
        models.gate.set()
        answer = following.result()
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [dict(line.split(": ", 1) for line in part.splitlines()) for part in answer.text.strip().split("\n\n")]
    states = [json.loads(event["data"])["state"] for event in events if event.get("event") == "status"]
    assert states[-1] == "done"
    assert states.count("done") == 1


def test_states_have_their_answers(client: TestClient, models: FakeModels) -> None:
    models.gate.clear()
    first, second = (_post(client, picture()).json()["id"] for _ in range(2))
    until(lambda: client.get(f"/v1/jobs/{first}").json()["state"] == "running")
    assert client.get(f"/v1/jobs/{second}").json()["position"] == 1
    assert client.get(f"/v1/jobs/{first}/result").status_code == 409
    assert client.delete(f"/v1/jobs/{first}").json()["state"] == "cancelled"
    assert client.get(f"/v1/jobs/{first}/result").status_code == 410
    models.gate.set()
    assert _ended(client, second)["state"] == "done"
    for path in ("/v1/jobs/unknown", "/v1/jobs/unknown/result", "/v1/jobs/unknown/events", "/v1/jobs/..%2F..%2Fetc"):
        assert client.get(path).status_code == 404
    assert client.delete("/v1/jobs/unknown").status_code == 404


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 422, "x.svg: the file is empty (0 bytes)"),
        (b"no image at all", 415, "not an image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', 415, "x.svg: "),
        (declaring(20_000, 10_000), 413, "10,000 is the limit"),
        (declaring(2**31 - 1, 2**31 - 1), 413, "10,000 is the limit"),
        (declaring(30_000, 30_000, 50_000_000), 413, "10,000 is the limit"),
        (b"x" * 170_000, 413, "97.7 KiB"),
        (b"x" * 100_001, 413, "97.7 KiB"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) run", 415, "x.svg"),
    ],
    ids=["empty", "text", "svg", "200 MP", "huge", "bomb", "too long", "a byte too long", "postscript"],
)
def test_hostile_files_are_refused(client: TestClient, data: bytes, status: int, words: str) -> None:
    answer = _post(client, data, "x.svg")
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert "/" not in answer.json()["detail"]
    assert client.get("/health").json()["queued"] == 0


def test_a_file_that_is_damaged_inside_fails_as_a_job(client: TestClient) -> None:
    noise = Image.effect_noise((90, 90), 100)
    out = io.BytesIO()
    noise.save(out, "JPEG")
    job = _post(client, out.getvalue()[: len(out.getvalue()) // 2], "../secret/cut.png").json()["id"]
    status = _ended(client, job)
    assert status["state"] == "failed"
    assert status["error"].startswith("cut.png: ")
    assert client.get(f"/v1/jobs/{job}/result").status_code == 410


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scael": 2}, "did you mean 'scale'"),
        ({"scale": "nan"}, "scale"),
        ({"scale": "inf"}, "scale"),
        ({"scale": -1}, "scale"),
        ({"steps": 5}, "steps = 5"),
        ({"model": "/etc/passwd"}, "lite, other"),
        ({"format": "svg"}, "'png', 'jpeg'"),
        ({"quality": 101}, "quality"),
        ({"tile": 16}, "tile"),
        ({"max_side": 0}, "max_side"),
    ],
)
def test_wrong_options_are_told(client: TestClient, options: dict[str, Any], words: str) -> None:
    answer = _post(client, picture(), **options)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_forms_that_are_none(client: TestClient) -> None:
    for arguments in (
        {"content": picture(), "headers": {"content-type": "image/png"}},
        {"json": {"image": "x"}},
        {"data": {"image": "x"}},
        {"files": {"picture": picture()}},
        {"files": [("image", ("a", picture()))], "data": {"seed": ["1", "2"]}},
    ):
        assert client.post("/v1/jobs", **arguments).status_code == 422
    boundary = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/v1/jobs", content=b"--x\r\nnothing", headers=boundary).status_code in (400, 422)
    assert client.post("/v1/jobs", content=b"?", headers={"content-type": "multipart/form-data"}).status_code == 400
    assert client.post("/v1/jobs", files=[("image", picture()), ("image", picture())]).status_code == 400


def _raw_post(app: Any, piece: Callable[[], bytes], **headers: str) -> int:
    """The status that a body gets of which there is always one more piece."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": piece(), "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = {"content-type": "multipart/form-data; boundary=x", **headers}
    scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "raw_path": b"/v1/jobs", "client": ("::1", 1)}
    scope |= {"query_string": b"", "root_path": "", "scheme": "http", "http_version": "1.1"}
    scope |= {"headers": [(name.encode(), value.encode()) for name, value in given.items()]}
    asyncio.run(app(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("headers", [{}, {"content-length": "500"}, {"content-length": "1000000"}])
def test_uploads_are_counted_whatever_they_say_of_themselves(client: TestClient, headers: dict[str, str]) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    pieces: list[bytes] = []

    def piece() -> bytes:
        pieces.append(b"x" * 10_000 if pieces else head)
        return pieces[-1]

    assert _raw_post(client.app, piece, **headers) == 413
    assert sum(map(len, pieces)) < 200_000


def test_an_upload_that_never_ends_is_given_up(models: FakeModels) -> None:
    app = create_app(engine(models), upload_seconds=0.2)
    assert _raw_post(app, lambda: b"") == 408
    app.state.engine.close(0)


def test_a_full_queue_says_when_to_come_back(models: FakeModels) -> None:
    models.gate.clear()
    with _client(models, queue=2) as client:
        answers = [_post(client, picture()) for _ in range(5)]
        assert [answer.status_code for answer in answers[:2]] == [202, 202]
        assert answers[-1].status_code == 429
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 600
        models.gate.set()
        for answer in answers:
            if answer.status_code == 202:
                assert _ended(client, answer.json()["id"])["state"] == "done"
        assert _post(client, picture()).status_code == 202


def test_while_it_ends_jobs_are_refused_and_the_rest_is_answered(client: TestClient) -> None:
    job = _post(client, picture()).json()["id"]
    _ended(client, job)
    assert client.get("/health").status_code == 200
    client.app.state.engine.stop_accepting()  # type: ignore[attr-defined]
    answer = _post(client, picture())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert client.get("/health").status_code == 503
    assert client.get(f"/v1/jobs/{job}/result").status_code == 200


def test_a_token_keeps_others_out(models: FakeModels) -> None:
    with _client(models, token="geheim") as client:
        assert _post(client, picture()).status_code == 401
        assert client.get("/metrics").status_code == 401
        assert client.get("/v1/jobs/x").headers["www-authenticate"] == "Bearer"
        assert client.get("/health").status_code == 200
        client.headers["authorization"] = "Bearer falsch"
        assert client.get("/v1/jobs/x").status_code == 401
        client.headers["authorization"] = "Bearer geheim"
        assert client.get("/v1/jobs/x").status_code == 404
        assert _post(client, picture()).status_code == 202


def test_metrics_and_documentation(client: TestClient) -> None:
    _ended(client, _post(client, picture(size=(20, 10))).json()["id"])
    lines = client.get("/metrics").text.splitlines()
    assert 'lpnsr_jobs_total{event="done"} 1.0' in lines
    assert "lpnsr_input_pixels_total 200.0" in lines
    assert 'lpnsr_http_responses_total{status="202"} 1.0' in lines
    page = client.get("/docs").text
    assert "https://" not in page  # nothing is fetched from elsewhere
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def test_twenty_clients_at_once_each_get_their_own(models: FakeModels) -> None:
    with _client(models, queue=8) as client:

        def one(number: int) -> int:
            """Three pictures each; the queue is too short for all, so that some have to come again."""
            tries = 0
            for turn in range(3):
                colour = (number * 10, turn * 50, 255 - number)
                data = picture(colour, size=(5 + number, 6 + turn))
                while (answer := _post(client, data, f"{number}-{turn}.png", scale=2, seed=number)).status_code == 429:
                    tries += 1
                    until(lambda: client.get("/health").json()["queued"] < 8)
                status = _ended(client, answer.json()["id"])
                assert (status["state"], status["name"]) == ("done", f"{number}-{turn}.png")
                result = client.get(f"/v1/jobs/{status['id']}/result").content
                assert colour_of(result) == colour
                assert Image.open(io.BytesIO(result)).size == (10 + 2 * number, 12 + 2 * turn)
                assert (settings_in(io.BytesIO(result)) or {})["seed"] == number
            return tries

        with ThreadPoolExecutor(20) as pool:
            tries = sum(pool.map(one, range(20)))
        assert tries > 0
        assert client.app.state.engine.counts()["done"] == 60  # type: ignore[attr-defined]
        assert models.most_at_work == 1


schemathesis.openapi.format("binary", st.sampled_from([picture(), picture(kind="JPEG"), b"", b"none"]))
FUZZ = settings(
    max_examples=20,
    stateful_step_count=6,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def schema(models: FakeModels) -> Iterator[Any]:
    app = create_app(engine(models, max_pixels=10_000, queue=5))
    yield schemathesis.openapi.from_asgi("/openapi.json", app)  # which also starts the application
    app.state.engine.close(0)


def test_every_answer_is_as_the_schema_says(schema: Any) -> None:
    operations = [operation.ok() for operation in schema.get_all_operations()]
    assert len(operations) == 7
    for operation in operations:

        @given(case=operation.as_strategy())
        @FUZZ
        def check(case: Any) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance])  # a schema cannot say what an image is

        check()


def test_chains_of_requests_are_answered_as_the_schema_says(schema: Any) -> None:
    class Machine(schema.as_state_machine()):  # type: ignore[misc]
        def validate_response(self, response: Any, case: Any, additional_checks: Any = ()) -> None:
            case.validate_response(response, excluded_checks=[positive_data_acceptance])

    Machine.run(settings=FUZZ)
