"""From an object to a file: whole, verified and durable, or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import DamagedError
from .partfile import PartFile
from .parts import Remote, Settings
from .ranged import Watch, fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .parts import Digest, Hasher
    from .sink import Sink

FLUSH_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Downloaded:
    """A file that has just arrived; `kept` bytes were there from an earlier attempt.

    `mtime_ns` is the time stamp that the file has under its name.
    """

    path: Path
    size: int
    sha256: str
    kept: int
    mtime_ns: int


def download(
    remote: Remote,
    target: Path,
    *,
    sha256: str = "",
    already: Callable[[], bool] = lambda: False,
    before: Callable[[Downloaded], None] = lambda _: None,
    hasher: Callable[[], Digest] = hashlib.sha256,
    read: Callable[..., Hasher | None] = fetch,
    settings: Settings | None = None,
    watch: Watch | None = None,
) -> Downloaded | None:
    """Download `remote` to `target`, which appears (or changes) only when every byte is right.

    `sha256`, if given, is what the content must have. One process at a time downloads a target:
    whoever had to wait asks `already` and gets None where the other has done the work.
    `before` runs when all is verified and the file is about to get its name.
    `hasher` makes what the bytes go through in order, a sha256 unless the caller wants more of it;
    `read` is called as `fetch` is and may have the bytes from elsewhere.
    An interrupted download goes on where it was, as long as the object has the same ETag.
    Raises what `fetch` raises, `SpaceError`, or `DamagedError` for a wrong sha256.
    """
    settings, watch = settings or Settings(), watch or Watch()
    with PartFile(target, cancelled=watch.cancelled) as part:
        if already():
            part.discard()
            return None
        sink = part.prepare(remote, settings.part_of(remote.size))
        kept = sum(_size(remote, settings, index) for index in sink.done)
        try:
            with _on_its_way(sink):
                digest = read(remote, sink, hasher=hasher, settings=settings, watch=watch)
            found = digest.hexdigest()  # type: ignore[union-attr]  # given a maker, it gives a hash
            if sha256 and found != sha256.lower():
                part.discard()
                raise DamagedError(
                    f"{remote.label} has the sha256 {found}, not {sha256.lower()}.",
                    remedy="check the expected value, or upload the object again",
                )
            done = Downloaded(
                path=target, size=remote.size, sha256=found, kept=kept, mtime_ns=part.seal()
            )
            before(done)
            part.finish()
        except OSError as error:
            raise part.fault(error) from None
    return done


def _size(remote: Remote, settings: Settings, index: int) -> int:
    step = settings.part_of(remote.size)
    return min((index + 1) * step, remote.size) - index * step


@contextlib.contextmanager
def _on_its_way(sink: Sink) -> Iterator[None]:
    """Have the disk write what has arrived while the rest is read, so that the end waits less.

    Raises the disk's `OSError`, which it tells once only: the last `fsync` would not have it.
    """
    if not hasattr(os, "fdatasync"):  # macOS and Windows flush at the end alone
        yield
        return
    own, ended, faults = sink.duplicate(), threading.Event(), list[OSError]()

    def flush() -> None:
        try:
            while not ended.wait(FLUSH_SECONDS):
                os.fdatasync(own.fd)
        except OSError as error:
            faults.append(error)

    thread = threading.Thread(target=flush, name="flush", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        os.close(own.fd)
    if faults:
        raise faults[0]
