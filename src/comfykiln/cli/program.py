"""What stands between invoke and the library: one catch, exit codes by class of error."""

from __future__ import annotations

import errno
import functools
import inspect
import os
import signal
import sys
from typing import TYPE_CHECKING, ParamSpec

import invoke

from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.system import console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

P = ParamSpec("P")
INTERRUPTED = 130
MANY = 12
"""So many options of a task have a letter each."""


def task(function: Callable[P, None]) -> invoke.Task[Callable[P, None]]:
    """Make an invoke task whose errors become one message and an exit code.

    No argument is positional: invoke would make every required one so.
    """
    return _made(function, ())


def task_on(
    *positional: str,
) -> Callable[[Callable[P, None]], invoke.Task[Callable[P, None]]]:
    """Make such a task whose arguments named here are given without their flags, in this order."""
    return lambda function: _made(function, positional)


def _made(function: Callable[P, None], positional: Sequence[str]) -> invoke.Task[Callable[P, None]]:
    # Where letters run out, invoke makes an option of a dash.
    letters = len(inspect.signature(function).parameters) <= MANY
    made: invoke.Task[Callable[P, None]] = invoke.task(
        positional=list(positional), auto_shortflags=letters
    )(_caught(function))
    return made


def _caught(function: Callable[P, None]) -> Callable[P, None]:
    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        signal.signal(signal.SIGTERM, _as_interrupt)
        try:
            function(*args, **kwargs)
        except KilnError as error:
            raise invoke.Exit(f"error: {error}", error.exit_code) from error
        except KeyboardInterrupt as error:
            console.warn(
                "stopped; nothing was tagged, and finished steps are kept for the next run"
            )
            raise invoke.Exit(code=INTERRUPTED) from error
        except BrokenPipeError as error:
            # Whoever reads has seen enough, as in `… --json | head -1`: it is no failure.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise invoke.Exit(code=0) from error
        except OSError as error:
            raise invoke.Exit(f"error: {_meaning(error)}", KilnError.exit_code) from error
        except RuntimeError as error:
            if _has_home():
                raise
            raise invoke.Exit(f"error: {_HOMELESS}", _HOMELESS.exit_code) from error

    return wrapped


_HOMELESS = NotPossibleError(
    "this user has no home folder, and HOME names none",
    remedy="set HOME to a folder of yours: what is fetched is kept below it",
)


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


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
