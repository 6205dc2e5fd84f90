"""A registry on loopback for one push by the engine: the way to an image's manifest and blobs.

The engine shows an image's manifest and its packed layers only to a registry that it pushes to.
What is already had is answered with "exists", so that an image of any size costs its config alone.
Loopback is open to every user of the machine: each receiver answers below a path that only the
engine is told, as the name that it pushes to.
"""

from __future__ import annotations

import hmac
import http.server
import re
import secrets
import threading
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast

from comfykiln.errors import KilnError
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedIOBase

_TLS_HANDSHAKE = b"\x16"
# What makes an engine that tries HTTPS first on loopback try plain HTTP next.
_PLAIN = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_BLOB = re.compile(r".+/blobs/(sha256:[0-9a-f]{64})")
_MANIFEST = re.compile(r".+/manifests/[^/]+")
_UPLOAD = re.compile(r".+/blobs/uploads/")
_BASE = "/v2/"
_SECRET_BYTES = 16
_MANIFEST_LIMIT = 4 << 20


class Sink(Protocol):
    """Where the blobs of an image go."""

    def has(self, digest: str) -> bool:
        """Tell whether the blob need not be sent."""

    def take(self, digest: str, size: int, stream: BufferedIOBase) -> None:
        """Read exactly `size` bytes, the blob `digest`, and keep them or raise `KilnError`."""


class Receiver(http.server.ThreadingHTTPServer):
    """The server: `manifests` are what was pushed, by digest, the image's own or an index last.

    `fault` is what a sink raised first.
    """

    daemon_threads = True

    def __init__(self, sink: Sink) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sink = sink
        self.secret = secrets.token_hex(_SECRET_BYTES)
        self.manifests: dict[str, bytes] = {}
        self.fault: KilnError | None = None

    @property
    def address(self) -> str:
        """What an image's name begins with: the host, and the secret of this receiver."""
        return f"127.0.0.1:{self.server_port}/{self.secret}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about connections that the engine breaks off: its own error tells it."""


@contextmanager
def receiving(sink: Sink) -> Iterator[Receiver]:
    """Run a receiver for the time of the block."""
    receiver = Receiver(sink)
    thread = threading.Thread(target=receiver.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        receiver.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _receiver(self) -> Receiver:
        return cast("Receiver", self.server)

    def handle(self) -> None:
        if self.connection.recv(1, 2) == _TLS_HANDSHAKE:  # 2 is MSG_PEEK
            self.wfile.write(_PLAIN)
            return
        super().handle()

    def log_message(self, *words: object) -> None:
        pass

    @property
    def _place(self) -> str:
        """The path below this receiver's secret; empty for whoever does not know it."""
        place = self.path.partition("?")[0].removeprefix(_BASE)
        told, _, rest = place.partition("/")
        return rest if hmac.compare_digest(told.encode(), self._receiver.secret.encode()) else ""

    def do_GET(self) -> None:
        self._answer(200 if self.path == _BASE else 404)

    def do_HEAD(self) -> None:
        blob = _BLOB.fullmatch(self._place)
        self._guarded(lambda: (200 if blob and self._receiver.sink.has(blob[1]) else 404, ""))

    def do_POST(self) -> None:
        if not _UPLOAD.match(self._place):
            self._refuse()
            return
        self._answer(202, Location=f"{self.path.partition('?')[0]}{uuid.uuid4().hex}")

    def do_PUT(self) -> None:
        if _MANIFEST.fullmatch(self._place):
            self._guarded(self._manifest)
        elif _UPLOAD.match(self._place):
            digest = self.path.rpartition("digest=")[2].replace("%3A", ":")
            self._guarded(lambda: self._blob(digest))
        else:
            self._refuse()

    def _refuse(self) -> None:
        """Answer who does not know the secret, without reading what was sent."""
        self.close_connection = True
        self._answer(404)

    def _manifest(self) -> tuple[int, str]:
        data = self.rfile.read(min(self._length(), _MANIFEST_LIMIT))
        digest = f"sha256:{files.sha256(data)}"
        self._receiver.manifests[digest] = data
        return 201, digest

    def _blob(self, digest: str) -> tuple[int, str]:
        self._receiver.sink.take(digest, self._length(), self.rfile)
        return 201, digest

    def _length(self) -> int:
        text = self.headers.get("Content-Length")
        if text is None:
            raise KilnError(
                "the engine sends a blob without saying its size",
                remedy="use an engine with the containerd image store (docs/setup.md)",
            )
        return int(text)

    def _guarded(self, work: Callable[[], tuple[int, str]]) -> None:
        """Answer with the status and digest of `work`; its fault ends the engine's push."""
        try:
            status, digest = work()
        except KilnError as error:
            self._receiver.fault = self._receiver.fault or error
            self.close_connection = True
            self._answer(400)
            return
        self._answer(status, **({"Docker-Content-Digest": digest} if digest else {}))

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()
