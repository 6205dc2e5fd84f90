"""Servers on loopback for tests of fetching: well-behaved, silent, slow, closed; a git host."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping
    from email.message import Message
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a site says; `drip`: a byte each tenth of a second; `cut`: end after so many bytes;
    `hang`: stay silent for so many seconds before the end."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    drip: bool = False
    cut: int | None = None
    hang: float = 0


@dataclass(frozen=True, kw_only=True)
class Site:
    """A running server: change `answers` (path → answer) at will; `asked` has what came in.

    A path without a query answers for every query that has no answer of its own."""

    url: str
    answers: dict[str, Answer]
    asked: list[tuple[str, Message]]

    @property
    def paths(self) -> list[str]:
        """The paths asked for, in order."""
        return [path for path, _ in self.asked]

    def with_login(self, login: str) -> str:
        """The address with `user:password` in it."""
        return self.url.replace("//", f"//{login}@")


@contextmanager
def site(
    answers: Mapping[str, Answer] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Site]:
    """Serve `answers` until the block ends; everything else is 404."""
    asked: list[tuple[str, Message]] = []
    known = dict(answers or {})

    class Handler(BaseHTTPRequestHandler):
        # Also where no request was understood: by this an engine sees that TLS is not spoken here.
        default_request_version = "HTTP/1.0"

        def do_GET(self) -> None:  # http.server names it so
            asked.append((self.path, self.headers))
            plain = known.get(urlsplit(self.path).path, Answer(status=404))
            _send(self, known.get(self.path, plain))

        do_HEAD = do_GET  # noqa: N815  # http.server names it so

        def log_message(self, *_: object) -> None:
            """Say nothing; `asked` has it."""

    with _running(Handler, tls) as url:
        yield Site(url=url, answers=known, asked=asked)


@contextmanager
def git_host(root: Path, *, login: str = "", tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve the bare repositories below `root` by git's own smart HTTP back end.

    With `login` (`user:password`) nobody else gets any of it.
    """
    wanted = f"Basic {base64.b64encode(login.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server names it so
            self.answer(b"")

        def do_POST(self) -> None:  # http.server names it so
            self.answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def answer(self, body: bytes) -> None:
            if login and self.headers.get("Authorization") != wanted:
                _send(self, Answer(status=401, headers={"WWW-Authenticate": "Basic realm=git"}))
            else:
                _cgi(self, root, body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with _running(Handler, tls) as url:
        yield url


@contextmanager
def silent() -> Iterator[str]:
    """The address of a host that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def closed() -> str:
    """The address of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up."""


@contextmanager
def _running(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None) -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), handler)
    if tls:
        # The handshake belongs to each connection's own thread, which closes it when it fails.
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    handler.send_response(answer.status)
    for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    body = answer.body if answer.cut is None else answer.body[: answer.cut]
    if handler.command == "HEAD":
        return
    try:
        for piece in (body[i : i + 1] for i in range(len(body))) if answer.drip else [body]:
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(0.1 if answer.drip else 0)
        time.sleep(answer.hang)
    except (BrokenPipeError, ConnectionResetError):
        handler.close_connection = True


def _cgi(handler: BaseHTTPRequestHandler, root: Path, body: bytes) -> None:
    parts = urlsplit(handler.path)
    environ = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_PROTOCOL": handler.headers.get("Git-Protocol", ""),
        "REQUEST_METHOD": handler.command,
        "PATH_INFO": parts.path,
        "QUERY_STRING": parts.query,
        "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding", ""),
        "REMOTE_ADDR": "127.0.0.1",
    }
    done = subprocess.run(
        ["git", "http-backend"], input=body, env=environ, capture_output=True, check=False
    )
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    lines = [line.split(": ", 1) for line in head.decode().splitlines()]
    headers = dict(line for line in lines if len(line) == 2)
    status = int(headers.pop("Status", "200").split()[0])
    _send(handler, Answer(body=content, status=status, headers=headers))
