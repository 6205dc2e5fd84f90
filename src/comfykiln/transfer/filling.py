"""From an answer into the file: through a buffer, or past this program, from socket to file.

Where the bytes pass a plain connection on Linux the kernel moves them alone: one copy instead of
two, and nothing to wait for the interpreter's lock with. The hash then reads the file back, out of
the page cache. TLS has to be taken off here, so its bytes pass a buffer and are hashed from there.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import socket
import struct
from typing import TYPE_CHECKING

from .connections import BROKEN
from .reader import Again

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable, Iterator

    from .parts import Part
    from .sink import Sink

# Small enough to be in the processor's cache still when it is written to the file.
SLICE = 1 << 17
PIPE_BYTES = 1 << 20
# Where a sandbox or a file system knows no splice, it says one of these.
NO_SPLICE = (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP)


class Buffer:
    """Room for one part, taken when it is first needed; `filled` where its bytes are here."""

    def __init__(self) -> None:
        self.filled = False
        self._view = memoryview(b"")

    def view(self, size: int) -> memoryview:
        """Return room for `size` bytes."""
        if len(self._view) < size:
            self._view = memoryview(mmap.mmap(-1, size))
        return self._view[:size]


class Filler:
    """One worker's way into the file; `count` is told the size of each piece and may raise."""

    def __init__(self, sink: Sink, count: Callable[[int], None]) -> None:
        self._sink, self._count = sink, count
        self._pipe = _Pipe() if sink.keeps and hasattr(os, "splice") else None

    def close(self) -> None:
        """Give back what the kernel holds."""
        if self._pipe is not None:
            self._pipe.close()

    def fill(
        self,
        response: http.client.HTTPResponse,
        sock: socket.socket | None,
        part: Part,
        buffer: Buffer,
    ) -> None:
        """Bring exactly the bytes of `part` into the file, and into `buffer` unless past it.

        `sock` is what the answer comes from where its bytes may be taken there. Raises `Again`
        where the answer ends or breaks before, or the disk's `OSError`.
        """
        pipe = self._pipe if response.length is not None and not response.chunked else None
        buffer.filled = pipe is None or sock is None
        if pipe is None or sock is None:
            self._through(response, part, buffer.view(part.size))
        else:
            self._past(response, sock, part, pipe)

    def _through(self, response: http.client.HTTPResponse, part: Part, view: memoryview) -> None:
        done = 0
        while done < len(view):
            with _told():
                got = response.readinto(view[done : done + SLICE])
            _require(got, done, part)
            self._sink.write(view[done : done + got], part.start + done)
            done += got
            self._count(got)

    def _past(
        self,
        response: http.client.HTTPResponse,
        sock: socket.socket,
        part: Part,
        pipe: _Pipe,
    ) -> None:
        with _told():
            early = response.read(min(len(response.peek()), part.size))
        _require(len(early), 0, part)  # it came along with the headers
        self._sink.write(memoryview(early), part.start)
        done = len(early)
        self._count(done)
        with _waiting_in_the_kernel(sock):
            while done < part.size:
                got = self._took(pipe, sock, part.size - done)
                _require(got, done, part)
                pipe.give(self._sink, part.start + done, got)
                response.length = (response.length or got) - got
                done += got
                self._count(got)

    def _took(self, pipe: _Pipe, sock: socket.socket, most: int) -> int:
        try:
            with _told():
                return pipe.take(sock, most)
        except _NoSpliceError:
            pipe.close()
            self._pipe = None
            raise Again("the system moves no bytes from sockets to files") from None


class _NoSpliceError(Exception):
    """The system cannot do this between these two."""


class _Pipe:
    """What the kernel moves pages through, empty between two calls."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        import fcntl  # noqa: PLC0415  # does not exist on Windows

        with contextlib.suppress(OSError):  # a user with many pipes gets small ones
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)

    def take(self, sock: socket.socket, most: int) -> int:
        """Take what has come, at most `most` bytes, and wait for some; 0 at the end."""
        try:
            return os.splice(sock.fileno(), self._in, min(most, PIPE_BYTES))
        except BlockingIOError:
            raise TimeoutError("timed out") from None
        except OSError as error:
            if error.errno in NO_SPLICE:
                raise _NoSpliceError from None
            raise

    def give(self, sink: Sink, place: int, count: int) -> None:
        """Put `count` bytes that were taken at `place` of the object."""
        while count:
            given = self._moved(sink, place, count)
            place, count = place + given, count - given

    def _moved(self, sink: Sink, place: int, count: int) -> int:
        try:
            return sink.splice(self._out, place, count)
        except OSError as error:
            if error.errno not in NO_SPLICE:
                raise
            data = os.read(self._out, count)
            sink.write(memoryview(data), place)
            return len(data)


def _require(got: int, done: int, part: Part) -> None:
    if not got:
        raise Again(f"the answer ended after {done} of {part.size} bytes")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        raise Again(f"the connection broke ({type(error).__name__})") from None


@contextlib.contextmanager
def _waiting_in_the_kernel(sock: socket.socket) -> Iterator[None]:
    """Have the kernel wait as long as Python would, which sets its sockets to never wait."""
    seconds = sock.gettimeout() or 0.0
    limit = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.settimeout(None)
    try:
        yield
    finally:
        sock.settimeout(seconds)
