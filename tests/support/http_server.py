"""A local file server for the download tests, which can misbehave in every way that real ones do."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What is served, and how. ``requests`` logs (path, Range header) of each request."""

    files: dict[str, bytes]
    ranges: bool = True
    etag: str | None = "strong"
    length: bool = True
    chunked: bool = False
    content_type: str = "application/octet-stream"
    drop_after: list[int] = field(default_factory=list)
    """For each coming request: close the connection after that many bytes of the body."""
    statuses: list[int] = field(default_factory=list)
    """For each coming request: answer this status instead."""
    linked_sha256: dict[str, str] = field(default_factory=dict)
    """Redirect these files once, stating this hash, as Hugging Face does."""
    last_modified: str | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    guards: list[str | None] = field(default_factory=list)
    """The If-Range header of each request."""


class _Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server, name = self.behaviour, self.path.rsplit("/", 1)[-1]
        server.requests.append((self.path, self.headers.get("Range")))
        server.guards.append(self.headers.get("If-Range"))
        if server.statuses:
            status = server.statuses.pop(0)
            return self.send_error(status)
        if name not in server.files:
            return self.send_error(404)
        if name in server.linked_sha256 and not self.path.startswith("/store/"):
            self.send_response(302)
            self.send_header("Location", f"/store/{name}")
            self.send_header("X-Linked-Etag", f'"{server.linked_sha256[name]}"')
            self.send_header("Content-Length", "0")
            return self.end_headers()
        return self._send(server, server.files[name])

    def _send(self, server: Behaviour, body: bytes) -> None:
        tag = f'"{hashlib.md5(body).hexdigest()}"' if server.etag == "strong" else server.etag
        start, wanted = 0, self.headers.get("Range")
        guard = self.headers.get("If-Range")
        if wanted and server.ranges and (guard is None or guard in (tag, server.last_modified)):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if tag:
            self.send_header("ETag", tag)
        if server.last_modified:
            self.send_header("Last-Modified", server.last_modified)
        self.send_header("Content-Type", server.content_type)
        rest = body[start:]
        if server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            rest = f"{len(rest):x}\r\n".encode() + rest + b"\r\n0\r\n\r\n"
        elif server.length:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if server.drop_after:
            rest = rest[: server.drop_after.pop(0)]
        self.wfile.write(rest)
        self.close_connection = True
        return None


@contextmanager
def serving(files: dict[str, bytes], **how: object) -> Iterator[tuple[str, Behaviour]]:
    """The base URL of a server of ``files`` on this machine, and its behaviour, which may be changed meanwhile."""
    behaviour = Behaviour(files, **how)  # type: ignore[arg-type]
    handler = type("Handler", (_Handler,), {"behaviour": behaviour})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", behaviour
    finally:
        server.shutdown()
        server.server_close()
