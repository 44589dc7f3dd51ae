"""The HTTP interface of an ``Engine`` as a FastAPI application."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline

from lpnsr import __version__
from lpnsr.apps.http.metrics import Metrics
from lpnsr.apps.http.routes import jobs_router, state_router
from lpnsr.apps.jobs import (
    BusyError,
    ClosedError,
    Engine,
    GoneError,
    NotReadyError,
    StorageError,
    TooLargeError,
    UnknownJobError,
)
from lpnsr.errors import ImageReadError, LpnsrError

_STATUS: tuple[tuple[type[LpnsrError], int], ...] = (  # the first that fits
    (BusyError, 429),
    (ClosedError, 503),
    (UnknownJobError, 404),
    (NotReadyError, 409),
    (GoneError, 410),
    (TooLargeError, 413),
    (StorageError, 507),
    (ImageReadError, 415),
    (LpnsrError, 422),
)
_WAIT_WHILE_CLOSING = 30


def create_app(engine: Engine, *, token: str | None = None, upload_seconds: float = 300) -> FastAPI:
    """The application, which starts the engine when it is started, and closes it when it ends.

    token: what clients have to send as ``Authorization: Bearer TOKEN``, but for /health and the documentation.
    upload_seconds: the time that an upload may take.
    """
    app = FastAPIOffline(
        title="lpnsr",
        version=__version__,
        summary="4x super-resolution of real photographs",
        description="Send an image to /v1/jobs, look after its job until its state is `done`, and fetch the result.",
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.engine, app.state.upload_seconds = engine, upload_seconds
    app.state.metrics, app.state.fetched = Metrics(engine), set()
    guarded = [] if token is None else [Depends(_guard(token))]
    app.include_router(jobs_router(bool(guarded), engine.models.names), dependencies=guarded)
    app.include_router(state_router(guarded))
    app.add_exception_handler(LpnsrError, _refused)  # type: ignore[arg-type]
    app.middleware("http")(_counted)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    engine: Engine = app.state.engine
    engine.start()
    try:
        yield
    finally:
        await asyncio.to_thread(engine.close, 0)


def _guard(token: str) -> Callable[..., Any]:
    scheme = HTTPBearer(auto_error=False, description="The token that the server was started with.")

    async def check(given: HTTPAuthorizationCredentials | None = Depends(scheme)) -> None:  # noqa: B008 (FastAPI's way)
        if given is None or not secrets.compare_digest(given.credentials.encode(), token.encode()):
            raise HTTPException(401, "this server wants a token", {"WWW-Authenticate": "Bearer"})

    return check


def _refused(_request: Request, error: LpnsrError) -> Response:
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    headers = {}
    if isinstance(error, BusyError):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, ClosedError):
        headers["Retry-After"] = str(_WAIT_WHILE_CLOSING)
    return JSONResponse({"detail": str(error)}, status, headers)


async def _counted(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    request.app.state.metrics.responses.labels(str(response.status_code)).inc()
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
