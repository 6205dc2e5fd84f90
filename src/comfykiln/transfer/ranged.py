"""The engine: many ranges at once into one file, hashed in order, in bounded memory.

Workers bring each piece to its own offset as it comes, never further ahead of the hash than there
are buffers. The calling thread hashes the parts in order, from these or out of the page cache,
reports progress and listens for a cancellation, so callbacks never run in two threads.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .connections import Connections
from .errors import Cancelled, UnreachableError
from .filling import Buffer, Filler
from .parts import MIB, Hasher, Part, Remote, Settings, cut
from .reader import Again, RangeIgnored, open_whole, pause, read_part

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable, Iterator

    from .sink import Sink

TICK = 0.1
READ_BACK = 4 * MIB
JOIN_SECONDS = 2.0


def _ignore(_: int) -> None:
    """Do nothing with the number."""


def _never() -> bool:
    """Say no."""
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """The caller's callbacks, called from its own thread.

    `progress` gets the bytes in place so far; `cancelled` is asked ten times a second.
    """

    progress: Callable[[int], None] = _ignore
    cancelled: Callable[[], bool] = _never


def fetch(
    remote: Remote,
    sink: Sink,
    *,
    hasher: Callable[[], Hasher] | None = None,
    settings: Settings | None = None,
    watch: Watch | None = None,
) -> Hasher | None:
    """Bring the whole object into `sink` and return the hash that got all its bytes in order.

    `hasher` makes an empty hash; it may be called more than once, since a server that turns out
    to send whole objects only means to begin again. Parts in `sink.done` are read back, not
    fetched. Every byte comes from the object that has `remote.etag`.
    Raises `ChangedError`, `AccessError`, `MissingError`, `UnreachableError` after all attempts,
    `Cancelled`, or the disk's `OSError`.
    """
    settings, watch = settings or Settings(), watch or Watch()
    try:
        return _Crew(remote, sink, settings, in_order=hasher is not None).run(hasher, watch)
    except RangeIgnored:
        return _fetch_whole(remote, sink, hasher, settings, watch)


def _fetch_whole(
    remote: Remote,
    sink: Sink,
    hasher: Callable[[], Hasher] | None,
    settings: Settings,
    watch: Watch,
) -> Hasher | None:
    """Read the object in one stream, from its begin at each attempt."""
    for attempt in range(1, settings.attempts + 1):
        sink.restart()
        sink.done = frozenset()
        crew = _Crew(remote, sink, settings, in_order=hasher is not None, whole=True)
        try:
            return crew.run(hasher, watch)
        except Again as again:
            if attempt == settings.attempts:
                raise _given_up(remote, again, attempt) from None
            _sleep(pause(attempt, again.wait), watch)
    raise AssertionError("the last attempt returns or raises")


class _Crew:
    """The workers of one attempt, their buffers and what they share."""

    def __init__(
        self,
        remote: Remote,
        sink: Sink,
        settings: Settings,
        *,
        in_order: bool,
        whole: bool = False,
    ) -> None:
        self.remote, self.sink, self.settings = remote, sink, settings
        self.in_order, self.whole = in_order, whole
        part_size = settings.part_of(remote.size)
        self.parts = cut(remote.size, part_size)
        self.missing = [part for part in self.parts if part.index not in sink.done]
        self.todo = iter(self.missing)
        count = min(settings.workers, len(self.missing))
        self.workers = min(count, 1) if whole else count
        self.buffers: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
        for _ in range(min(self.workers + 2, len(self.missing))):
            self.buffers.put(Buffer())
        self.back = Buffer()
        self.ready: dict[int, Buffer] = {}
        self.finished = 0
        self.counts = [0] * self.workers  # each worker writes its own place alone
        self.news = threading.Condition()
        self.turn = threading.Lock()
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self.connections = [
            Connections(read_seconds=settings.read_seconds) for _ in range(self.workers)
        ]

    def run(self, hasher: Callable[[], Hasher] | None, watch: Watch) -> Hasher | None:
        threads = [
            threading.Thread(target=self._work, args=(n,), name=f"range-{n}", daemon=True)
            for n in range(self.workers)
        ]
        clock = self._clock(watch)
        clock.tick()  # what is kept from before: nothing else has come yet
        for thread in threads:
            thread.start()
        try:
            return self._attend(hasher() if hasher else None, clock)
        finally:
            self.stop.set()
            for connection in self.connections:
                connection.abort()
            for thread in threads:
                thread.join(JOIN_SECONDS)

    def _clock(self, watch: Watch) -> _Clock:
        kept = remote_size(self.parts) - remote_size(self.missing)
        return _Clock(self.settings.progress_seconds, watch, lambda: kept + sum(self.counts))

    def _attend(self, hasher: Hasher | None, clock: _Clock) -> Hasher | None:
        """Hash in order, report and listen until every part is in place."""
        if hasher is None:
            self._wait(lambda: self.finished == len(self.missing), clock)
        else:
            for part in self.parts:
                self._hash(part, hasher, clock)
        clock.tick(now=True)
        return hasher

    def _hash(self, part: Part, hasher: Hasher, clock: _Clock) -> None:
        if part.index in self.sink.done:
            self._read_back(part, hasher)
        else:
            self._wait(lambda: part.index in self.ready, clock)
            buffer = self.ready.pop(part.index)
            if buffer.filled:
                hasher.update(buffer.view(part.size))
            else:
                self._read_back(part, hasher)
            self.buffers.put(buffer)
        clock.tick()

    def _read_back(self, part: Part, hasher: Hasher) -> None:
        for start in range(part.start, part.stop, READ_BACK):
            view = self.back.view(min(READ_BACK, part.stop - start))
            self.sink.read(view, start)
            hasher.update(view)

    def _wait(self, ready: Callable[[], bool], clock: _Clock) -> None:
        seen, since = -1, time.monotonic()
        with self.news:
            while not ready():
                if self.error is not None:
                    raise self.error
                if sum(self.counts) != seen:
                    seen, since = sum(self.counts), time.monotonic()
                elif time.monotonic() - since > self.settings.stall_seconds:
                    raise _stalled(self.remote, self.settings.stall_seconds)
                self.news.wait(TICK)
                clock.tick()

    def _work(self, number: int) -> None:
        connections = self.connections[number]
        sink = self.sink.duplicate()  # so that a late worker never writes into another file
        filler = Filler(sink, lambda size: self._count(number, size))
        try:
            if self.whole:
                self._bring_all(connections, filler)
            else:
                for part, buffer in self._turns():
                    self._bring(number, part, buffer, filler)
        except BaseException as error:  # noqa: BLE001  # the calling thread raises it
            with self.news:
                self.error = self.error or error
                self.news.notify_all()
        finally:
            filler.close()
            os.close(sink.fd)
            connections.close()

    def _count(self, number: int, size: int) -> None:
        if self.stop.is_set():
            raise Cancelled("stopped")
        self.counts[number] += size

    def _turns(self) -> Iterator[tuple[Part, Buffer]]:
        """Yield the next part with a buffer; buffers go out in the order of the parts.

        So the part that the hash waits for always has one.
        """
        while not self.stop.is_set():
            with self.turn:
                buffer = self._buffer()
                part = next(self.todo, None) if buffer is not None else None
            if part is None or buffer is None:
                return
            yield part, buffer

    def _buffer(self) -> Buffer | None:
        while not self.stop.is_set():
            with contextlib.suppress(queue.Empty):
                return self.buffers.get(timeout=TICK)
        return None

    def _bring(self, number: int, part: Part, buffer: Buffer, filler: Filler) -> None:
        before, connections = self.counts[number], self.connections[number]

        def fill(response: http.client.HTTPResponse) -> None:
            filler.fill(response, connections.plain_socket(), part, buffer)

        for attempt in range(1, self.settings.attempts + 1):
            try:
                read_part(connections, self.remote, part, fill)
                break
            except Again as again:
                self.counts[number] = before
                if attempt == self.settings.attempts:
                    raise _given_up(self.remote, again, attempt) from None
                self.stop.wait(pause(attempt, again.wait))
            if self.stop.is_set():
                raise Cancelled("stopped")
        self._publish(part, buffer)

    def _bring_all(self, connections: Connections, filler: Filler) -> None:
        with open_whole(connections, self.remote) as response:
            for part, buffer in self._turns():
                filler.fill(response, connections.plain_socket(), part, buffer)
                self._publish(part, buffer)

    def _publish(self, part: Part, buffer: Buffer) -> None:
        """Note that a part is written and hand its buffer on."""
        self.sink.written(part.index)
        with self.news:
            if self.in_order:
                self.ready[part.index] = buffer
            else:
                self.buffers.put(buffer)
            self.finished += 1
            self.news.notify_all()


class _Clock:
    """Calls back at a sane rate."""

    def __init__(self, seconds: float, watch: Watch, total: Callable[[], int]) -> None:
        self._seconds, self._watch, self._total = seconds, watch, total
        self._last = float("-inf")

    def tick(self, *, now: bool = False) -> None:
        """Raise `Cancelled` if asked to; report if it is time, or `now`."""
        if self._watch.cancelled():
            raise Cancelled("The transfer was cancelled.", remedy="run it again to go on from here")
        if now or time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            self._watch.progress(self._total())


def remote_size(parts: list[Part]) -> int:
    """Return the bytes of `parts` together."""
    return sum(part.size for part in parts)


def _sleep(seconds: float, watch: Watch) -> None:
    clock = _Clock(seconds, Watch(cancelled=watch.cancelled), lambda: 0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        clock.tick()
        time.sleep(min(TICK, seconds))


def _stalled(remote: Remote, seconds: float) -> UnreachableError:
    return UnreachableError(
        f"{remote.label} cannot be read: nothing worth the name came for {seconds:g} s.",
        remedy="check the network and run it again; what has arrived is kept",
    )


def _given_up(remote: Remote, again: Again, attempts: int) -> UnreachableError:
    return UnreachableError(
        f"{remote.label} cannot be read: {again} ({attempts} attempts).",
        remedy="check the network and run it again; what has arrived is kept",
    )
