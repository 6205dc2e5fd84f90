"""A line with a delay: what loopback hides."""

from __future__ import annotations

import asyncio
import contextlib
import threading
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
    target = urlsplit(url)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def send() -> None:
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()

        sender = asyncio.create_task(send())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(PIECE):
                waiting.put_nowait((loop.time() + seconds / 2, data))
        waiting.put_nowait((loop.time(), b""))
        with contextlib.suppress(ConnectionError):
            await sender

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(pump(reader, inner[1]), pump(inner[0], writer))

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
