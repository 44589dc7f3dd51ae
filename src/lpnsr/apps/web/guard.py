"""The guard in front of the page: it checks the login, the path and the size of every request."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lpnsr.apps.jobs.settings import mebibytes

_API = "/gradio_api/"
_FILE = f"{_API}file="
_GET = ("/assets/", "/static/", f"{_API}heartbeat/")
_GET_EXACT = {
    "/",
    "/config",
    "/theme.css",
    "/favicon.ico",
    *(_API + name for name in ("info", "startup-events", "upload_progress", "queue/data", "app_id", "theme.css")),
}
_CALLS = {_API + name for name in ("queue/join", "run/predict")}
_POST = {_API + name for name in ("upload", "cancel", "reset")} | _CALLS
_CALL = 1 << 18  # bytes of a call, which names files but carries none
_FORM = 1 << 16  # bytes of an upload beside its files
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


class Guard:
    """An ASGI application that lets through to ``app`` what the page needs, and answers the rest itself.

    folders: files below these may be read. login: (user, password) for HTTP Basic, or None. max_upload: bytes of a
    request with files. room: tells whether there is room for another. Gradio's other paths are closed: some would fetch
    addresses that visitors name.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        folders: tuple[Path, ...],
        login: tuple[str, str] | None,
        max_upload: int,
        room: Callable[[], bool],
    ) -> None:
        self._app, self._login, self._max_upload, self._room = app, login, max_upload, room
        self._folders = tuple(folder.resolve() for folder in folders)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                new = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                ours = {name for name, _ in new}
                message["headers"] = [pair for pair in message.get("headers", []) if pair[0].lower() not in ours] + new
            await send(message)

        refusal = self._refused(scope)
        if refusal is None and scope["path"] == f"{_API}upload":
            receive = _Counted(receive, self._max_upload + _FORM)
            if not self._room():
                refusal = _text(507, "This server has no room for more files now; try again later.")
            elif receive.declared_too_much(scope):
                refusal = _text(413, f"These files are larger than {mebibytes(self._max_upload)}; send less at once.")
        elif refusal is None and scope["path"] in _CALLS:
            body = await _body(receive, _CALL)
            if body is None or not self._harmless(body):
                refusal = _text(400, "This call is not one of the page.")
            else:
                receive = _replayed(body, receive)
        await (refusal or self._app)(scope, receive, answer)

    def _refused(self, scope: Scope) -> ASGIApp | None:
        """Return the answer to a request that may not come in, or None."""
        path, method = scope["path"], scope["method"]
        if self._login is not None and not _knows(scope, self._login):
            return _text(401, "This server requires a user and password.", {"WWW-Authenticate": 'Basic realm="lpnsr"'})
        if method in ("GET", "HEAD"):
            if path.startswith(_FILE):
                return None if self._ours(path.removeprefix(_FILE)) else _text(404, "There is no such file.")
            known = path in _GET_EXACT or path.startswith(_GET)
        else:
            known = method == "POST" and path in _POST
        return None if known else _text(404, "There is nothing here.")

    def _ours(self, path: str) -> bool:
        """Tell whether a file lies in one of the folders after links are followed."""
        try:
            real = Path(path).resolve()
            return Path(path).is_absolute() and any(folder in real.parents for folder in self._folders)
        except (OSError, ValueError):
            return False

    def _harmless(self, body: bytes) -> bool:
        """Tell whether all files that a call names are local: Gradio would fetch the others."""
        try:
            call = json.loads(body)
        except ValueError:
            return False
        return all(isinstance(path, str) and self._ours(path) for path in _paths(call))


def _paths(value: Any) -> Iterator[Any]:
    """Yield every value of a call under the key ``path``."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("path") is not None:
                yield value["path"]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _knows(scope: Scope, login: tuple[str, str]) -> bool:
    given = dict(scope["headers"]).get(b"authorization", b"")
    kind, _, code = given.partition(b" ")
    try:
        text = base64.b64decode(code, validate=True) if kind.lower() == b"basic" else b""
    except binascii.Error:
        return False
    return secrets.compare_digest(text, ":".join(login).encode())


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> ASGIApp:
    return PlainTextResponse(text, status, headers)


class _Counted:
    """A body cut at ``limit`` bytes; beyond, it looks like a lost connection."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit, self._seen = receive, limit, 0

    def declared_too_much(self, scope: Scope) -> bool:
        length = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
        return length.isdecimal() and int(length) > self._limit

    async def __call__(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if self._seen > self._limit else message


async def _body(receive: Receive, limit: int) -> bytes | None:
    """Read the whole body; None if it is longer than ``limit``."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            return None
    return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
