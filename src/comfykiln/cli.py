"""What stands between invoke and the library: one catch, exit codes by class of error."""

from __future__ import annotations

import functools
import signal
import sys
from typing import TYPE_CHECKING, ParamSpec

import invoke

from comfykiln import console
from comfykiln.errors import KilnError

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
INTERRUPTED = 130


def task(function: Callable[P, None]) -> invoke.Task[Callable[P, None]]:
    """Make an invoke task whose errors become one message and an exit code.

    No argument is positional: with one that is, `invoke build --help` would take `--help` for it.
    """

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
        except BrokenPipeError:
            sys.stderr.close()

    made: invoke.Task[Callable[P, None]] = invoke.task(positional=[])(wrapped)
    return made


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
