"""A model's bytes in order without a file: verified as they pass, for what goes straight on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import threading
from functools import partial
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError
from comfykiln.models import store, surroundings
from comfykiln.models.download import NotHadError, settings_for
from comfykiln.models.receiving import described, read_local
from comfykiln.models.sources.find import find
from comfykiln.transfer.errors import Cancelled, DamagedError, SpaceError, StorageError
from comfykiln.transfer.parts import MIB
from comfykiln.transfer.ranged import Watch, fetch
from comfykiln.transfer.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from comfykiln.models.records import LockedModel, ModelSource
    from comfykiln.models.sources.find import Found

JOIN_SECONDS = 10.0
_END = None


@contextlib.contextmanager
def stream(
    model: LockedModel, *, environ: Mapping[str, str] | None = None
) -> Iterator[Iterator[memoryview]]:
    """Yield an iterator over the bytes of `model` in order; each piece is valid until the next.

    They come from the store where it has the file, else from the sources in order; when one fails
    on the way the next goes on from the same byte, and what came before is compared. Memory is
    about 64 MiB. The iterator raises `NotHadError` when no source can finish, and `KilnError`
    after the last byte when their sha256 is another: what was made from them must be dropped.
    """
    environ = surroundings.of_host(environ)
    relay = _Relay(model, environ)
    thread = threading.Thread(target=relay.run, name=f"stream {model.name}", daemon=True)
    with surroundings.handed_over(environ):
        thread.start()
        try:
            yield relay.pieces()
        finally:
            relay.cancel()
            thread.join(JOIN_SECONDS)


class _Relay:
    """Hands pieces from the thread that fetches to the one that uses them, one at a time."""

    def __init__(self, model: LockedModel, environ: Mapping[str, str]) -> None:
        self._model, self._environ = model, environ
        self._given: queue.SimpleQueue[memoryview | BaseException | None] = queue.SimpleQueue()
        self._taken: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self.passed = 0  # bytes that the other thread has taken
        self.latest: _Passing | None = None

    def pieces(self) -> Iterator[memoryview]:
        """Yield what is given, until the end or the error of the other thread."""
        while True:
            piece = self._given.get()
            if isinstance(piece, BaseException):
                raise piece
            if piece is None:
                return
            yield piece
            self._taken.put(True)  # noqa: FBT003  # the only thing it says

    def cancel(self) -> None:
        """End the transfer if it is not over."""
        self._cancelled.set()
        self._taken.put(False)  # noqa: FBT003  # wakes whoever waits

    def run(self) -> None:
        """Read the model from wherever it is available."""
        try:
            self._read()
        except Cancelled:
            return
        except BaseException as error:  # noqa: BLE001  # the other thread raises it
            self._given.put(error)
        else:
            self._given.put(_END)

    def _read(self) -> None:
        model = self._model
        if store.verified(model.sha256):
            self._read_stored()
            return
        reasons = []
        for source in model.sources:
            try:
                self._from(source)
            except Cancelled:
                raise
            except SpaceError as error:
                raise KilnError(error.message, remedy=error.remedy) from None
            except StorageError as error:
                reasons.append(f"{source.url}: {error.message} {error.remedy}".rstrip())
            else:
                return
        raise NotHadError(model.name, reasons)

    def _read_stored(self) -> None:
        hasher = _Passing(self)
        buffer = memoryview(bytearray(4 * MIB))
        with store.path_of(self._model.sha256).open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                hasher.update(buffer[:count])
        self._finish(hasher)

    def _from(self, source: ModelSource) -> None:
        model = self._model
        version = model.version if source.url == model.source else ""
        found = find(source, self._environ, sha256=model.sha256, version=version)
        if found.size != model.size or found.sha256 not in ("", model.sha256):
            raise DamagedError("it has another file there.", remedy="lock the new file")
        self._finish(self._fetched(found))

    def _fetched(self, found: Found) -> _Passing:
        read = fetch if found.local is None else partial(read_local, found.local)
        made: list[_Passing] = []

        def hasher() -> _Passing:
            made.append(_Passing(self))
            return made[-1]

        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            read(
                found.remote or described(found),
                Sink(fd=nowhere, keeps=False),
                hasher=hasher,
                settings=settings_for(found.size),
                watch=Watch(cancelled=self._cancelled.is_set),
            )
        finally:
            os.close(nowhere)
        return made[-1]

    def _finish(self, hasher: _Passing) -> None:
        found = hasher.hexdigest()
        if found != self._model.sha256:
            raise KilnError(
                f"{self._model.name}: its bytes have the sha256 {found}, "
                f"not {self._model.sha256} as locked",
                remedy="run it again; if that does not help, another file is at its source",
            )

    def hand_on(self, piece: memoryview) -> None:
        """Give a piece to the other thread and wait until it is done with it."""
        self._given.put(piece)
        if not self._taken.get():
            raise Cancelled("The reader has stopped.")
        self.passed += len(piece)


class _Passing:
    """One reading from the first byte: passes on what has not been passed on before.

    A second reading, of another source or after a failure, must begin with the same bytes.
    """

    def __init__(self, relay: _Relay) -> None:
        self._relay = relay
        self._sha256 = hashlib.sha256()
        self._skip = relay.passed
        self._same_as = relay.latest.agreed() if relay.latest else ""
        relay.latest = self

    def agreed(self) -> str:
        """Return the sha256 of what has been passed on by now."""
        return self._same_as if self._skip else self._sha256.hexdigest()

    def update(self, data: bytes | memoryview, /) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        if self._skip:
            old, view = view[: self._skip], view[self._skip :]
            self._skip -= len(old)
            self._sha256.update(old)
            if not self._skip and self._sha256.hexdigest() != self._same_as:
                raise DamagedError("it begins with other bytes than those that came before.")
        if view:
            self._relay.hand_on(view)
            self._sha256.update(view)

    def hexdigest(self) -> str:
        """Return the sha256 of all bytes of this reading so far."""
        return self._sha256.hexdigest()
