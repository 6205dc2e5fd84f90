"""The CA bundle and the proxies for transfer/ and boto3, which read the environment alone."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from comfykiln.network.host import HANDED_OVER, environment_of, settings_of_host
from comfykiln.transfer.connections import tls_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOCK = threading.Lock()
_KEPT: list[dict[str, str | None]] = []


def of_host(environ: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return `environ`, else this process's with the CA and the proxies of this machine."""
    return environment_of(settings_of_host(None)) if environ is None else environ


@contextmanager
def handed_over(environ: Mapping[str, str]) -> Iterator[None]:
    """Let this process have the CA bundle and the proxies of `environ` meanwhile.

    transfer/ is copied into the node pack as it is, and takes them from nowhere else. Several
    threads may be inside, of one build: the first sets them, the last sets them back.
    """
    with _LOCK:
        _KEPT.append(_set({name: environ.get(name) for name in HANDED_OVER}))
    try:
        yield
    finally:
        with _LOCK:
            before = _KEPT.pop()
            if not _KEPT:
                _set(before)


def _set(values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Set or remove each variable, and return what they were."""
    before = {name: os.environ.get(name) for name in values}
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    tls_context.cache_clear()
    return before
