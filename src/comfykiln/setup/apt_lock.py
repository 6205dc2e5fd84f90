"""apt's locks: who holds one is told and waited for, and named when it does not end.

apt would wait for dpkg's lock without a word, and never for that of its package lists, which the
timers of a machine that has just been started hold for a while.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from comfykiln.errors import NotPossibleError
from comfykiln.system import console
from comfykiln.system.process import ProgramError

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 120  # seconds for another apt to end
PAUSE = 0.5  # seconds between two looks at its lock
LOCKED = re.compile(r"Could not get lock (/\S+?)(?:\. It is held by (.+)| - .+)$", re.MULTILINE)
FLOCK = "hhqqi4x"  # struct flock of Linux: type, whence, start, length, process

T = TypeVar("T")


def waiting(work: Callable[[], T]) -> T:
    """Do `work`, and do it again for as long as apt says that another program holds its lock.

    Raises `NotPossibleError` with the holder's name when that takes longer than `PATIENCE`.
    """
    end = time.monotonic() + PATIENCE
    told = False
    while True:
        try:
            return work()
        except ProgramError as error:
            if (held := LOCKED.search(error.output)) is None:
                raise
            if time.monotonic() > end:
                raise _endless(held) from error
            if not told:
                console.note(f"waiting for {_holder(held)}, which holds apt's lock {held[1]}")
                told = True
        _await_release(Path(held[1]), end)


def is_locked_out(error: ProgramError) -> bool:
    """Tell whether apt did nothing at all, as another program held its lock."""
    return LOCKED.search(error.output) is not None


def _await_release(path: Path, end: float) -> None:
    """Wait until nobody holds the lock on `path`, or until `end`."""
    time.sleep(PAUSE)
    while _is_held(path) and time.monotonic() < end:
        time.sleep(PAUSE)


def _is_held(path: Path) -> bool:
    """Ask the kernel who holds the lock, without taking it: another apt would fail on ours."""
    try:
        with path.open("rb") as file:
            asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind = struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))[0]
    except OSError:
        return False
    return bool(kind != fcntl.F_UNLCK)


def _holder(held: re.Match[str]) -> str:
    return held[2] or "another program"


def _endless(held: re.Match[str]) -> NotPossibleError:
    return NotPossibleError(
        f"{_holder(held)} has held apt's lock {held[1]} for {PATIENCE} s",
        remedy="wait until it has ended, or end it, and start the task again",
    )
