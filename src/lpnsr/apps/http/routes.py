"""The paths of the HTTP interface."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from lpnsr import __version__
from lpnsr.apps.http.upload import form_schema, received
from lpnsr.apps.jobs import Engine, Status
from lpnsr.apps.jobs.settings import FormatName

_EVERY = 0.2  # seconds between two looks at a job that somebody follows
_MOST_QUIET = 5.0  # seconds without an event
_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "required": ["detail"],
    "properties": {"detail": {"type": "string", "description": "One sentence, for people."}},
}


class Health(BaseModel):
    """ready: whether jobs are taken and the model is loaded."""

    ready: bool
    version: str
    models: list[str]
    queued: int
    running: int


def _says(guarded: bool = False, **why: str) -> dict[int | str, dict[str, Any]]:
    if guarded:
        why["_401"] = "The token is missing or wrong."
    content = {"application/json": {"schema": _PROBLEM}}
    return {int(code[1:]): {"description": text, "content": content} for code, text in why.items()}


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


def _status(job_id: str, engine: Annotated[Engine, Depends(_engine)]) -> Status:
    return engine.status(job_id)


EngineHere = Annotated[Engine, Depends(_engine)]
StatusNow = Annotated[Status, Depends(_status)]


def jobs_router(guarded: bool, models: Sequence[str]) -> APIRouter:
    """The paths below /v1/jobs. guarded: whether they answer 401 without a token. models: that are served."""
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
    unknown = _says(guarded, _404="There is no such job.", _422="The request is malformed.")

    @router.post(
        "",
        status_code=202,
        summary="Upscale an image",
        openapi_extra={"requestBody": form_schema(models)},
        responses=_says(
            guarded,
            _400="The form is damaged.",
            _408="The upload took too long.",
            _413="The file, its pixels or those of the result are too many.",
            _415="The file is no image that can be read.",
            _422="An option is wrong, or the file is missing.",
            _429="The queue is full; Retry-After tells when to try again.",
            _503="The server is being shut down.",
            _507="The server's disk is full.",
        ),
    )
    async def create(request: Request, response: Response, engine: EngineHere) -> Status:
        """Answers with the job as soon as it is in the queue. Location is where to look after it."""
        owner = request.client.host if request.client else ""
        engine.check_room(owner)  # before the upload, not after it
        async with received(request, engine.limits.max_upload, request.app.state.upload_seconds) as (
            file,
            name,
            options,
        ):
            job = await run_in_threadpool(engine.submit, file, options, owner=owner, name=name)
        response.headers["Location"] = f"{request.scope.get('root_path', '')}/v1/jobs/{job}"
        return engine.status(job)

    @router.get("/{job_id}", summary="State and progress of a job", responses=unknown)
    def status(status: StatusNow) -> Status:
        """`state` is queued, running, done, failed, cancelled or expired; `seconds_left` is an estimate, or null."""
        return status

    @router.get("/{job_id}/events", summary="Follow a job", response_class=EventSourceResponse, responses=unknown)
    async def events(request: Request, status: StatusNow, engine: EngineHere) -> AsyncIterator[ServerSentEvent]:
        """Server-sent events: a `status` whenever it has changed, until the job has ended."""
        async for news in _news(status, engine):
            yield ServerSentEvent(event="status", data=news)

    @router.get(
        "/{job_id}/result",
        summary="The result's file",
        response_class=FileResponse,
        responses={
            200: {"description": "The image.", "content": {_media_type(name): {} for name in get_args(FormatName)}},
            **unknown,
            **_says(_409="The job has not ended yet.", _410="It has failed, was cancelled, or its result has expired."),
        },
    )
    def result(request: Request, status: StatusNow, engine: EngineHere) -> FileResponse:
        path = engine.result(status.id)
        if not engine.accepting:
            request.app.state.fetched.add(status.id)  # so that the server does not wait for that
        kind = _media_type(status.options.format)
        return FileResponse(path, media_type=kind, filename=status.file_name, headers={"Cache-Control": "no-store"})

    @router.delete("/{job_id}", summary="Cancel a job, or delete its result", responses=unknown)
    def cancel(job_id: str, engine: EngineHere) -> Status:
        """A job that waits or runs becomes `cancelled`; one that is done becomes `expired`; others stay as they are."""
        return engine.cancel(job_id)

    return router


async def _news(status: Status, engine: Engine) -> AsyncIterator[Status]:
    """A status and, until its job has ended or the engine is closed, those that follow."""
    quiet = 0.0
    yield status
    while not status.state.ended and not engine.finished:
        await asyncio.sleep(_EVERY)
        quiet += _EVERY
        new = engine.status(status.id)
        if quiet >= _MOST_QUIET or _gist(new) != _gist(status):
            quiet, status = 0.0, new
            yield new


def _gist(status: Status) -> tuple[Any, ...]:
    return status.state, status.position, status.progress


def _media_type(name: str) -> str:
    return mimetypes.types_map.get(f".{name}", f"image/{name}")


def state_router(guarded: Sequence[Any]) -> APIRouter:
    """/health, which needs no token, and /metrics."""
    router = APIRouter(tags=["server"])

    @router.get("/health", responses={503: {"model": Health, "description": "No jobs are taken now."}})
    def health(engine: EngineHere, response: Response) -> Health:
        """Answers at all: the server lives. 200: it is ready for jobs; 503: not yet, or not any more."""
        counts, ready = engine.counts(), engine.ready
        response.status_code = 200 if ready else 503
        return Health(
            ready=ready,
            version=__version__,
            models=list(engine.models.names),
            queued=counts["queued"],
            running=counts["running"],
        )

    @router.get(
        "/metrics",
        dependencies=guarded,
        response_class=Response,
        responses={
            200: {"description": "In Prometheus' text format.", "content": {"text/plain": {}}},
            **_says(bool(guarded)),
        },
    )
    def metrics(request: Request) -> Response:
        return Response(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)

    return router
