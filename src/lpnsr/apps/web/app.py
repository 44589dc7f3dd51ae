"""The page as an ASGI application, and its process."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import gradio as gr
import uvicorn
from fastapi import FastAPI

from lpnsr.apps.network import AnnouncedServer, listen
from lpnsr.apps.web.desk import Desk
from lpnsr.apps.web.guard import Guard
from lpnsr.apps.web.page import head, make_page, theme

_LAST_ANSWERS = 2  # seconds for answers that are under way when the server is to end


def create_app(desk: Desk, *, login: tuple[str, str] | None = None) -> Guard:
    """The application, which starts the desk when it is started, and closes it when it ends.

    login: the user and the password that visitors need. One a process: Gradio keeps its folder in the environment.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(desk.uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    gr.set_static_paths([desk.shown])
    largest = max(desk.limits.max_upload, desk.max_batch)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        desk.start()
        try:
            yield
        finally:
            await asyncio.to_thread(desk.close)

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    gr.mount_gradio_app(
        app,
        make_page(desk),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=largest,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        head=head(secrets.token_urlsafe(8)),
    )
    return Guard(app, folders=(desk.uploads, desk.shown), login=login, max_upload=largest, room=desk.room)


def serve(
    desk: Desk,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    login: tuple[str, str] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until SIGINT or SIGTERM, which end what is at work. port: 0 for any. say: is told the address.

    Raises ConfigError.
    """
    listening = listen(host, port)
    config = uvicorn.Config(
        create_app(desk, login=login),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_LAST_ANSWERS,
    )
    server = AnnouncedServer(config, lambda address: say(f"open {address} in a browser; Ctrl+C ends it"))
    # Pages that are open are cut off at the end, which is no error.
    logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
    server.run(sockets=[listening])
