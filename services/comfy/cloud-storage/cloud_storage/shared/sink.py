# Generated from src/comfykiln/transfer: change it there, then run `invoke render`.
"""The file that a transfer fills, written and read at offsets by several threads."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def _nothing() -> None:
    """Do nothing."""


def _ignore(_: int) -> None:
    """Do nothing with the number."""


@dataclass(kw_only=True, slots=True)
class Sink:
    """Where the bytes go: `base` is the object's place in the file, `done` the parts it has.

    `mark` is told each part once it is written, from any thread but never twice at a time;
    `restart` is told that nothing written so far counts. What is written can be read back only
    where the file `keeps` it.
    """

    fd: int
    base: int = 0
    done: frozenset[int] = frozenset()
    mark: Callable[[int], None] = _ignore
    restart: Callable[[], None] = _nothing
    keeps: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)
    # File systems write to one file one at a time; whoever waits for that there burns a core.
    writing: threading.Lock = field(default_factory=threading.Lock)

    def write(self, view: memoryview, offset: int) -> None:
        """Write all of `view` at `offset` of the object."""
        while view:
            with self.writing:
                written = self._write(view, self.base + offset)
            view, offset = view[written:], offset + written

    def splice(self, pipe: int, offset: int, count: int) -> int:
        """Move up to `count` bytes from a pipe to `offset`; return how many. Linux alone."""
        with self.writing:
            return os.splice(pipe, self.fd, count, offset_dst=self.base + offset)

    def read(self, view: memoryview, offset: int) -> None:
        """Fill `view` with what lies at `offset` of the object; raise `EOFError` where it ends."""
        while view:
            got = self._read(view, self.base + offset)
            if not got:
                raise EOFError
            view, offset = view[got:], offset + got

    def written(self, index: int) -> None:
        """Pass a part on to `mark`."""
        with self.lock:
            self.mark(index)

    def duplicate(self) -> Sink:
        """Return the same place behind a descriptor of its own, which the caller closes."""
        return replace(self, fd=os.dup(self.fd))

    def _write(self, view: memoryview, place: int) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self.fd, view, place)
        with self.lock:  # Windows has no such call
            os.lseek(self.fd, place, os.SEEK_SET)
            return os.write(self.fd, view)

    def _read(self, view: memoryview, place: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self.fd, [view], place)
        with self.lock:  # neither macOS before 11 nor Windows has it
            os.lseek(self.fd, place, os.SEEK_SET)
            data = os.read(self.fd, len(view))
            view[: len(data)] = data
            return len(data)
