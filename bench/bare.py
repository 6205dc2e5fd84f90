"""An S3 server of one object that costs next to nothing: what it sends, the kernel sends.

A server on the same cores is part of what a client takes; beside this one the client's own share
is seen. It knows HEAD and GET with a range, and believes every signature.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support import s3  # noqa: E402  # found by the line above

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 1 << 20
_RANGE = re.compile(rb"range: bytes=(\d+)-(\d+)", re.IGNORECASE)


@contextlib.contextmanager
def bare(path: Path) -> Iterator[s3.Server]:
    """Serve the file at `path`, whatever key is asked for, from a process of its own."""
    port = s3.free_port()
    with s3.running([sys.executable, __file__, str(path), str(port)], port):
        yield s3.Server(url=f"http://127.0.0.1:{port}")


def _serve(connection: socket.socket, file: int, size: int) -> None:
    with connection, connection.makefile("rb") as asked, contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while line := asked.readline():
            lines = b"".join(iter(asked.readline, b"\r\n"))
            found = _RANGE.search(lines)
            start, stop = (int(found[1]), int(found[2]) + 1) if found else (0, size)
            connection.sendall(_head(start, stop, size, ranged=found is not None))
            while not line.startswith(b"HEAD") and start < stop:
                start += os.sendfile(connection.fileno(), file, start, min(stop - start, PIECE))


def _head(start: int, stop: int, size: int, *, ranged: bool) -> bytes:
    lines = ["HTTP/1.1 206 Partial Content" if ranged else "HTTP/1.1 200 OK"]
    lines += [f"Content-Range: bytes {start}-{stop - 1}/{size}"] if ranged else []
    lines += [f"Content-Length: {stop - start}", 'ETag: "bare"', "Accept-Ranges: bytes"]
    lines += ["Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT", "", ""]
    return "\r\n".join(lines).encode()


def main() -> None:
    """Serve until killed: `bare.py FILE PORT`."""
    file = os.open(sys.argv[1], os.O_RDONLY)
    size = os.fstat(file).st_size
    with socket.create_server(("127.0.0.1", int(sys.argv[2])), backlog=64) as server:
        while True:
            Thread(target=_serve, args=(server.accept()[0], file, size), daemon=True).start()


if __name__ == "__main__":
    main()
