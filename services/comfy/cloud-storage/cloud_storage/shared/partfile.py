# Generated from src/comfykiln/transfer: change it there, then run `invoke render`.
"""The unfinished file of a download: locked, sized, journalled, and moved into place when whole.

Beside `model.safetensors` lie `.model.safetensors.part` and its journal, which says which object
it belongs to and which parts have arrived. A killed program leaves both; the next one goes on.
The lock is on the unfinished file itself, so nothing else needs to be cleaned up.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import Cancelled, SpaceError
from .parts import MIB, Remote
from .sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

SPARE = 64 * MIB
NAME_LIMIT = 200
POLL = 0.1
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# File systems that cannot reserve space say one of these; the disk then fills as the bytes come.
NO_RESERVE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def part_path(target: Path) -> Path:
    """Return the name of the unfinished file beside `target`."""
    name = target.name
    if len(os.fsencode(name)) > NAME_LIMIT:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(f".{name}.part")


class PartFile:
    """The unfinished file of `target`, ours alone between `with` and its end."""

    def __init__(self, target: Path, *, cancelled: Callable[[], bool]) -> None:
        self.target = target
        self.path = part_path(target)
        self.journal = self.path.with_name(self.path.name + ".json")
        self._cancelled = cancelled
        self._fd = -1
        self._notes = -1

    def __enter__(self) -> PartFile:  # noqa: PYI034  # Self needs Python 3.11
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self._fd = self._locked()
        except OSError as error:
            raise self.fault(error) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def prepare(self, remote: Remote, part_size: int) -> Sink:
        """Make room for `remote` and return the place for its parts, with those that are there.

        Raises `SpaceError` before anything is written where the disk has no room.
        """
        header: dict[str, object] = {
            "etag": remote.identity or remote.etag,
            "size": remote.size,
            "part_size": part_size,
            "boot": boot_identity(),
        }
        done = self._done(header) if header["etag"] else frozenset[int]()
        # Without a list of the parts: a server may announce any size, and only the room ends it.
        starts = (index * part_size for index in done)
        left = (remote.size - start for start in starts)
        missing = remote.size - sum(min(part_size, max(size, 0)) for size in left)
        try:
            if not done:
                os.ftruncate(self._fd, 0)
            self._reserve(remote.size, missing)
            self._open_notes(header, done)
        except OSError as error:
            raise self.fault(error) from None
        return Sink(fd=self._fd, done=done, mark=self._mark, restart=lambda: self._forget(header))

    def seal(self) -> int:
        """Make the bytes durable and return the time stamp in nanoseconds that the file keeps."""
        if os.name != "nt":
            os.fchmod(self._fd, 0o666 & ~_umask())
        os.fsync(self._fd)
        return os.fstat(self._fd).st_mtime_ns

    def finish(self) -> None:
        """Give the sealed file its name."""
        if os.name == "nt":  # an open file cannot be renamed there
            self._close()
        self.path.replace(self.target)
        self.journal.unlink(missing_ok=True)
        _sync_folder(self.target.parent)

    def discard(self) -> None:
        """Remove what has arrived: it is of no use."""
        self.journal.unlink(missing_ok=True)
        if os.name == "nt":
            self._close()
        self.path.unlink(missing_ok=True)

    def _locked(self) -> int:
        """Return a descriptor of the file under its name, locked; wait while another has it."""
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
            try:
                self._wait_for_lock(fd)
                if _same_file(fd, self.path):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # the one before us has finished and moved the file away

    def _wait_for_lock(self, fd: int) -> None:
        while not _try_lock(fd):
            if self._cancelled():
                raise Cancelled("Cancelled while another download of this file ran.")
            time.sleep(POLL)

    def _done(self, header: dict[str, object]) -> frozenset[int]:
        """Return the parts that the journal vouches for; none if it is for another object."""
        try:
            first, *lines = self.journal.read_text(encoding="utf-8").split("\n")[:-1]
            size = os.fstat(self._fd).st_size
            if json.loads(first) != header or size != header["size"]:
                return frozenset()
            return frozenset(int(line) for line in lines)
        except (FileNotFoundError, ValueError):
            return frozenset()

    def _reserve(self, size: int, missing: int) -> None:
        free = shutil.disk_usage(self.target.parent).free
        held = getattr(os.fstat(self._fd), "st_blocks", 0) * 512
        needed = min(missing, max(0, size - held))
        if free < needed + SPARE:
            raise SpaceError(
                f"{self.target} needs {needed / MIB:.0f} MiB more; "
                f"{self.target.parent} has {free / MIB:.0f} MiB free, of which 64 stay.",
                remedy="free space there, or choose another models folder",
            )
        if size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._fd, 0, size)
            except OSError as error:
                if error.errno not in NO_RESERVE:
                    raise
        os.ftruncate(self._fd, size)

    def _open_notes(self, header: dict[str, object], done: frozenset[int]) -> None:
        if done:
            self._notes = os.open(self.journal, os.O_WRONLY | os.O_APPEND)
        else:
            self._forget(header)

    def _forget(self, header: dict[str, object]) -> None:
        """Begin the journal anew."""
        if self._notes >= 0:
            os.close(self._notes)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        self._notes = os.open(self.journal, flags, 0o600)
        os.write(self._notes, (json.dumps(header) + "\n").encode())

    def _mark(self, index: int) -> None:
        os.write(self._notes, f"{index}\n".encode())

    def _close(self) -> None:
        for fd in (self._fd, self._notes):
            if fd >= 0:
                os.close(fd)
        self._fd = self._notes = -1

    def fault(self, error: OSError) -> SpaceError:
        """Return the error for what the disk refused."""
        if error.errno in FULL:
            what, remedy = "the disk or the quota is full", "free space there"
        else:
            what = error.strerror or "it cannot be written"
            remedy = "make the folder writable for the user that runs this, or choose another"
        return SpaceError(f"{self.target} cannot be written: {what}.", remedy=remedy)


@lru_cache(maxsize=1)
def boot_identity() -> str:
    """Return what changes when the machine restarts, since unsynced parts may be lost then."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{(time.time() - time.monotonic()) / 600:.0f}"


def _try_lock(fd: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt  # noqa: PLC0415  # exists on Windows alone

            os.lseek(fd, 1 << 40, os.SEEK_SET)  # far behind any content
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]  # as above
        else:
            import fcntl  # noqa: PLC0415  # does not exist on Windows

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


@lru_cache(maxsize=1)
def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
