"""A local file server for the download tests, which can misbehave in every way that real ones do."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""The commit of every repository, where the server is the Hugging Face Hub."""


@dataclass
class Behaviour:
    """The files that are served, and the manner. ``requests`` logs (method, path, Range, If-Range) of each request."""

    files: dict[str, bytes]
    ranges: bool = True
    etag: str | None = "md5"
    """The name of a hash, or the ETag of all files."""
    length: bool = True
    content_type: str = "application/octet-stream"
    drop_after: list[int] = field(default_factory=list)
    """For each coming GET of a file: close the connection after that many bytes of the body."""
    stall: threading.Event | None = None
    """Instead of closing it, wait for this."""
    statuses: list[int] = field(default_factory=list)
    """For each coming request: answer this status instead."""
    redirect: bool = False
    """Send whoever asks to another path first, as GitHub does."""
    last_modified: str | None = None
    requests: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)

    @property
    def fetched(self) -> list[str]:
        """Paths of the GETs, without the one by which the Hub's client looks for its own settings."""
        return [path for method, path, *_ in self.requests if method == "GET" and path != "/api/agent-harnesses"]

    @property
    def asked_ranges(self) -> list[str | None]:
        """Range of each GET."""
        return [wanted for method, _, wanted, _ in self.requests if method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server, name = self.behaviour, self.path.rsplit("/", 1)[-1]
        server.requests.append((self.command, self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        if server.statuses:
            return self.send_error(server.statuses.pop(0))
        if self.path.startswith("/api/models/"):
            return self._describe(server)
        if name not in server.files:
            return self.send_error(404)
        if server.redirect and not self.path.startswith("/store/"):
            self.send_response(302)
            self.send_header("Location", f"/store/{name}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        return self._send(server, server.files[name])

    def do_HEAD(self) -> None:
        self.do_GET()

    def _describe(self, server: Behaviour) -> None:
        """Answer as the Hub's API does about a repository, or the files in it."""
        files = [{"type": "file", "path": n, "size": len(b), "oid": "0" * 40} for n, b in server.files.items()]
        body = json.dumps(files if "/tree/" in self.path else {"id": "owner/name", "sha": COMMIT}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send(self, server: Behaviour, body: bytes) -> None:
        known = server.etag in hashlib.algorithms_available
        tag = f'"{hashlib.new(server.etag, body).hexdigest()}"' if known and server.etag else server.etag
        start, wanted = 0, self.headers.get("Range")
        guard = self.headers.get("If-Range")
        if wanted and server.ranges and (guard is None or guard in (tag, server.last_modified)):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if tag:
            self.send_header("ETag", tag)
        if server.last_modified:
            self.send_header("Last-Modified", server.last_modified)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Type", server.content_type)
        rest = body[start:]
        if server.length:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.close_connection = True
        if self.command == "HEAD":
            return
        if server.drop_after:
            rest = rest[: server.drop_after.pop(0)]
        self.wfile.write(rest)
        if server.stall:
            self.wfile.flush()
            server.stall.wait(30)


def as_hub(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Take the server at ``url`` for the Hugging Face Hub, as HF_ENDPOINT does in a new process."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )


@contextmanager
def serving(files: dict[str, bytes], **how: object) -> Iterator[tuple[str, Behaviour]]:
    """Give the base URL of a server of ``files`` on this machine, and its behaviour, which may be changed meanwhile."""
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
