"""Which origins answer from here: asked all at once, each for a few seconds at most."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError
from comfykiln.network.client import Client
from comfykiln.network.indexes import IndexSettings, proxies_of, uv_program
from comfykiln.system.process import ProgramError, capture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from comfykiln.network.pip import PipSettings

PATIENCE = 3.0  # seconds for one origin
DEADLINE = 6.0  # seconds for all of them; a name server may be slower than any time-out of ours
PACKAGE_INDEX = "package-index"
# What a proxy answers in an origin's place: it filters, or does not get there itself.
REFUSED = {403, 407, 502, 503, 504}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Whether one origin answers; `fault` is empty when it does."""

    name: str
    fault: str


def reach_origins(
    addresses: Mapping[str, str],
    environ: Mapping[str, str],
    settings: PipSettings,
    bundle: Path | None,
) -> tuple[Answer, ...]:
    """Ask every one of `addresses` (by name) and the package index, all at the same time.

    The environment's proxies are used, and certificates are checked against `bundle`.
    """
    way = IndexSettings(ca_bundle=bundle, proxies=proxies_of(environ, settings))
    checks: dict[str, Callable[[], str]] = {
        name: partial(ask_address, address, way) for name, address in addresses.items()
    }
    checks[PACKAGE_INDEX] = partial(ask_index, environ, settings)
    return together(checks, deadline=DEADLINE)


def together(checks: Mapping[str, Callable[[], str]], *, deadline: float) -> tuple[Answer, ...]:
    """Run all checks at once and give up on those that need more than `deadline` seconds.

    Daemon threads, since a name server that is silent cannot be interrupted, and must not keep
    the program from ending.
    """
    answers: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    for item in checks.items():
        threading.Thread(target=_answer, args=(*item, answers), daemon=True).start()
    faults: dict[str, str] = {}
    end = time.monotonic() + deadline
    while len(faults) < len(checks) and (left := end - time.monotonic()) > 0:
        try:
            name, fault = answers.get(timeout=left)
        except queue.Empty:
            break
        faults[name] = fault
    late = f"no answer within {deadline:g} s"
    return tuple(Answer(name=name, fault=faults.get(name, late)) for name in checks)


def _answer(
    name: str, check: Callable[[], str], answers: queue.SimpleQueue[tuple[str, str]]
) -> None:
    answers.put((name, check()))


def ask_address(address: str, settings: IndexSettings, *, patience: float = PATIENCE) -> str:
    """Return why the server of `address` is out of reach, or nothing when it answers.

    Any answer of the server itself will do.
    """
    try:
        with (
            Client(settings, connect=patience, read=patience) as client,
            client.request("HEAD", address) as reply,
        ):
            return f"refused: HTTP {reply.status}" if reply.status in REFUSED else ""
    except KilnError as error:  # of the network, or of a CA bundle that cannot be used
        return error.message


def ask_index(environ: Mapping[str, str], settings: PipSettings) -> str:
    """Return why the package index cannot be read, or nothing when it can.

    uv itself asks, for a package of our own locks, with this machine's settings: that is the
    question that matters, and the index's address stays uv's and the person's affair.
    """
    asking = dict(environ) | {"UV_HTTP_TIMEOUT": f"{PATIENCE:g}", "UV_HTTP_RETRIES": "0"}
    compile_one = [uv_program(), "pip", "compile", "-", "--no-deps", "--no-cache", "--quiet"]
    try:
        capture(
            [*compile_one, *settings.uv_arguments()],
            env=settings.uv_environment(asking),
            stdin="invoke\n",
            timeout=DEADLINE,
        )
    except ProgramError as error:
        lines = [line.strip() for line in error.output.splitlines() if line.strip()]
        return lines[-1] if lines else f"uv ended with status {error.status}"
    except KilnError as error:
        return error.message
    return ""
