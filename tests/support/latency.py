"""A line with a delay: what loopback hides."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 1 << 16


@contextlib.contextmanager
def delayed(url: str, seconds: float) -> Iterator[str]:
    """Yield an address that leads to `url`, each way taking half of `seconds`; `url` for none."""
    if not seconds:
        yield url
        return
    loop = asyncio.new_event_loop()
    line = _Line(urlsplit(url).hostname, urlsplit(url).port, seconds / 2)
    server = loop.run_until_complete(asyncio.start_server(line.serve, "127.0.0.1", 0))
    port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@dataclass(frozen=True, slots=True)
class _Line:
    """Where the line leads and how many seconds each way takes."""

    host: str | None
    port: int | None
    seconds: float

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sender = asyncio.create_task(_send(waiting, writer))
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(PIECE):
                waiting.put_nowait((now() + self.seconds, data))
        waiting.put_nowait((now(), b""))
        with contextlib.suppress(ConnectionError):
            await sender


async def _send(waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    """Write each piece when it is due; an empty one ends it."""
    while True:
        due, data = await waiting.get()
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        if not data:
            writer.close()
            return
        writer.write(data)
        await writer.drain()
