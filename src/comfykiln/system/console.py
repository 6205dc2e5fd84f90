"""The only way to talk to a person: progress on standard error, results on standard output.

Every text passes `comfykiln.system.gate`, with the secrets of this process's variables.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from comfykiln.system import gate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_FLUSH_LEFT = re.compile(r"\n(?=[^\s])")


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
    print(fit(message), flush=True)


def out_json(value: Any) -> None:
    """Print a result for programs to standard output, in ASCII where that is not UTF-8."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    data = gate.fit_data(value, gate.secrets_of(os.environ))
    print(gate.spelt(json.dumps(data, indent=2, ensure_ascii=plain)), flush=True)


def fit(message: str) -> str:
    """Return a text as all of this module print it: for what another library shows a person."""
    return gate.fit(message, gate.secrets_of(os.environ))


def traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print where a fault of the program itself comes from: Python's own report, fit to print."""
    from traceback import format_exception  # noqa: PLC0415  # faults of ours only

    print(fit("".join(format_exception(kind, error, trace))), end="", file=sys.stderr, flush=True)


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
        _raw(f"::group::{fit(gate.one_line(message))}")
    else:
        step(message)
    start = time.monotonic()
    try:
        yield
        note(f"done in {time.monotonic() - start:.1f} s")
    finally:
        if folding:
            _raw("::endgroup::")


def _err(message: str) -> None:
    """Print a message whose later lines stand in, so that none looks like one of ours."""
    _raw(_FLUSH_LEFT.sub("\n  ", fit(message)))


def _raw(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
