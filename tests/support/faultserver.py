"""A server of objects that can be told to misbehave, for what no real server can be made to do."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from comfykiln.transfer.connections import Request
from comfykiln.transfer.parts import Remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Object:
    """One object and how it misbehaves; `faults` are used up one a request, then it behaves."""

    data: bytes
    etag: str = ""
    faults: list[str] = field(default_factory=list)
    always: str = ""
    extra: dict[str, str] = field(default_factory=dict)  # headers of every good answer
    rate: float = 0.0  # bytes per second for each connection, 0 for no limit
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0
    judge: Callable[[str], str] | None = None  # returns the fault for a Range header
    on_request: Callable[[Object], None] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.etag = self.etag or _etag(self.data)

    def replace(self, data: bytes) -> None:
        """Put other content there."""
        self.data, self.etag = data, _etag(data)

    def fault(self) -> str:
        """Return how the next request goes wrong, "" for not at all."""
        with self.lock:
            return self.always or (self.faults.pop(0) if self.faults else "")


@dataclass
class FaultServer:
    """The running server and its objects by path."""

    url: str
    objects: dict[str, Object] = field(default_factory=dict)

    def add(self, path: str, data: bytes, **how: Any) -> Object:
        """Offer an object."""
        self.objects[path] = Object(data, **how)
        return self.objects[path]

    def remote(self, path: str, **changes: Any) -> Remote:
        """Return what the downloader needs to fetch an object as it is now."""
        offered = self.objects[path]
        values: dict[str, Any] = {
            "label": f"s3://bucket{path}",
            "size": len(offered.data),
            "etag": offered.etag,
            "request": lambda: Request(url=self.url + path),
        }
        return Remote(**(values | changes))


@contextlib.contextmanager
def fault_server() -> Iterator[FaultServer]:
    """Run the server on a port of loopback."""
    server = _Quiet(("127.0.0.1", 0), _Handler)
    offered = FaultServer(url=f"http://127.0.0.1:{server.server_address[1]}")
    server.offered = offered  # type: ignore[attr-defined]  # the handler reads it
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield offered
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that hang up are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    offered: Object

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Say nothing."""

    def do_HEAD(self) -> None:
        found = self._found()
        if found is not None:
            self._head(200, found, len(found.data))

    def do_GET(self) -> None:
        found = self._found()
        if found is None:
            return
        if found.on_request:
            found.on_request(found)
        with found.lock:
            found.requests.append(self.headers.get("Range", ""))
            found.headers.append(dict(self.headers))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            judged = found.judge(self.headers.get("Range", "")) if found.judge else ""
            self._answer(found, judged or found.fault())

    def _found(self) -> Object | None:
        objects = self.server.offered.objects  # type: ignore[attr-defined]  # set above
        found: Object | None = objects.get(self.path.split("?")[0])
        if found is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
        return found

    def _answer(self, found: Object, fault: str) -> None:
        if fault.startswith("status"):
            _, status, *extra = fault.split()
            self._status(int(status), dict(pair.split("=", 1) for pair in extra))
            return
        if fault == "silent":
            time.sleep(3)
            self.close_connection = True
            return
        wanted = self.headers.get("If-Match")
        if wanted and wanted != found.etag and fault != "ignore-if-match":
            self._status(412, {})
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if match is None or fault == "ignore-range":
            self._head(200, found, len(found.data))
            self._send(found, found.data)
            return
        self._part(found, fault, int(match[1]), int(match[2]))

    def _part(self, found: Object, fault: str, start: int, last: int) -> None:
        body = found.data[start : last + 1]
        told = (start + 1, last + 1) if fault == "wrong-range" else (start, last)
        extra = {"Content-Range": f"bytes {told[0]}-{told[1]}/{len(found.data)}"}
        if fault == "wrong-etag":
            extra["ETag"] = '"another"'
        if fault == "flip":
            body = bytes([body[0] ^ 1]) + body[1:]
        length = len(body) + (10 if fault == "long" else 0)
        self._head(200 if fault == "as-200" else 206, found, length, extra)
        if fault == "short":
            self._send(found, body[: len(body) // 2])
            self.close_connection = True
            self.wfile.flush()
            self.connection.close()
            return
        self._send(found, body + b"x" * (length - len(body)))

    def _head(
        self, status: int, found: Object, length: int, extra: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        headers = {
            "ETag": found.etag,
            "Content-Length": str(length),
            "Last-Modified": formatdate(usegmt=True),
        }
        for name, value in (headers | found.extra | (extra or {})).items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, found: Object, body: bytes) -> None:
        step = 65536 if found.rate else max(len(body), 1)
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            self.wfile.write(piece)
            found.sent += len(piece)
            if found.rate:
                time.sleep(len(piece) / found.rate)

    def _status(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": "0"}).items():
            self.send_header(name, value)
        self.end_headers()
