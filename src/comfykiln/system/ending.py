"""How a program of ours ends: one catch, one message, one exit code by class of error."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.system import console

if TYPE_CHECKING:
    from collections.abc import Callable

STOPPED = 130
"""The exit code after Ctrl-C or SIGTERM, as shells have it."""

_HOMELESS = NotPossibleError(
    "this user has no home folder, and HOME names none",
    remedy="set HOME to a folder of yours: what is fetched is kept below it",
)


def exit_code(work: Callable[[], None]) -> int:
    """Do `work` and return the exit code that it ends with, having told its error.

    SIGTERM stops it as Ctrl-C does: what is under way is undone first.
    """
    try:
        signal.signal(signal.SIGTERM, _stop)
        work()
    except KilnError as error:
        return _tell(error)
    except KeyboardInterrupt:
        console.warn("stopped; nothing half-made is in place, and what was finished is kept")
        return STOPPED
    except BrokenPipeError:
        # Whoever reads has seen enough, as in `… --json | head -1`: it is no failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _tell(_meaning(error))
    except RuntimeError:
        if _has_home():
            raise
        return _tell(_HOMELESS)
    return 0


def _tell(error: KilnError) -> int:
    console.error(str(error))
    return error.exit_code


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _has_home() -> bool:
    """Tell whether there is a home folder: a user of a container may be in no list of users."""
    return os.path.expanduser("~") != "~"  # noqa: PTH111  # pathlib's raises what is judged here


def _meaning(error: OSError) -> KilnError:
    """Return what a failed call of the system means: the file, the reason, what to look at.

    The errors of the engine's client and of HTTP are `OSError` too, with no number of the system's.
    """
    if error.errno is None:
        return KilnError(
            f"{error}", remedy="look at what the engine or server says; `./kiln doctor` asks both"
        )
    place = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return KilnError(
            f"{place}{error.strerror}",
            remedy="free space for the store (~/.cache/comfykiln, or COMFYKILN_STORE), for TMPDIR "
            "and for this folder",
        )
    return KilnError(
        f"{place}{error.strerror or error}",
        remedy="look at the file's owner, its mode and the free space beside it",
    )
