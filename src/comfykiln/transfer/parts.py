"""What is fetched and how it is cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from .connections import Request

MIB = 1 << 20


class Hasher(Protocol):
    """Whatever takes the bytes in order: a hash, or a list of them behind one `update`."""

    def update(self, data: memoryview, /) -> object:
        """Take the next bytes."""


class Digest(Hasher, Protocol):
    """What takes the bytes in order and says their sha256 in the end."""

    def hexdigest(self) -> str:
        """Return the sha256 of all bytes so far as 64 hex digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Remote:
    """An object that can be read in ranges.

    `label` names it in messages and holds no secret; `size` is in bytes; `etag` as the server
    writes it, "" if it gives none; `request` returns a GET that is valid now, without a range.
    `identity` says which content is wanted, where that is known better than by the ETag: parts of
    an earlier attempt with the same one are kept, whichever server they came from.
    """

    label: str
    size: int
    etag: str
    request: Callable[[], Request] = field(repr=False)
    identity: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a transfer behaves. Memory is at most about `(workers + 2) * part_size` bytes.

    A part that was under way when a program was killed is fetched again, so parts are no larger
    than a sixty-fourth of the object: with six workers nine tenths are kept.
    """

    part_size: int = 0  # 0 for what suits the object
    workers: int = 6
    attempts: int = 6
    read_seconds: float = 30.0
    stall_seconds: float = 60.0  # without a single piece from any connection
    progress_seconds: float = 0.25

    def part_of(self, size: int) -> int:
        """Return the size in bytes of the parts of an object of `size` bytes."""
        return self.part_size or min(max(size // 64 // MIB, 1), 16) * MIB


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes `start` to `stop` (excluded) of the object."""

    index: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        return self.stop - self.start


def cut(size: int, part_size: int) -> list[Part]:
    """Return the parts of an object of `size` bytes, in order; none for an empty one."""
    return [
        Part(index, start, min(start + part_size, size))
        for index, start in enumerate(range(0, size, part_size))
    ]
