"""The only way to talk to a person: progress on standard error, results on standard output."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def step(message: str) -> None:
    """Announce the next piece of work."""
    _err(f"▸ {message}")


def note(message: str) -> None:
    """Add a detail below the current step."""
    _err(f"  {message}")


def warn(message: str) -> None:
    """Say something that the person should act on, though the work goes on."""
    _err(f"! {message}")


def error(message: str) -> None:
    """Say why the program ends without what was asked for."""
    _err(f"error: {message}")


def out(message: str) -> None:
    """Print a result for people to standard output."""
    print(message, flush=True)


def out_json(value: Any) -> None:
    """Print a result for programs to standard output, in ASCII where that is not UTF-8."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    print(json.dumps(value, indent=2, ensure_ascii=plain), flush=True)


def accept_any_text() -> None:
    """Write what standard output's encoding lacks as an escape, as standard error does.

    Under a locale such as de_DE.ISO-8859-1 an arrow would otherwise end the task.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def timed(message: str) -> Iterator[None]:
    """Announce a step and say afterwards how long it took; folded in the log of GitHub Actions."""
    folding = os.environ.get("GITHUB_ACTIONS") == "true"
    if folding:
        _err(f"::group::{message}")
    else:
        step(message)
    start = time.monotonic()
    try:
        yield
        note(f"done in {time.monotonic() - start:.1f} s")
    finally:
        if folding:
            _err("::endgroup::")


def _err(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
