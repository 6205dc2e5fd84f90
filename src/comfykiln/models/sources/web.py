"""Look at an address over HTTP: what would be read there, how much, and of which version."""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comfykiln import __version__
from comfykiln.network.client import (
    CA_ADVICE,
    Client,
    RedirectError,
    UnavailableError,
    UntrustedError,
)
from comfykiln.network.host import settings_in
from comfykiln.network.http import patience_of
from comfykiln.system.gate import bare_address
from comfykiln.transfer.connections import CONNECT_SECONDS, Request
from comfykiln.transfer.errors import (
    AccessError,
    MissingError,
    StorageError,
    UnreachableError,
)
from comfykiln.transfer.reader import BUSY, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from comfykiln.network.client import Reply

ATTEMPTS = 3
ADDRESS_SECONDS = 600.0
PAGE_LIMIT = 4 << 20
LONGEST_REASON = 200
# Below an exabyte: what is longer is no size, and too many digits are no number to Python.
_LENGTH = re.compile(r"[0-9]{1,18}")
OK, PARTIAL, EMPTY = 200, 206, 416
IDENTIFICATION = {"User-Agent": f"comfykiln/{__version__}"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What lies at an address: `request` reads it, past all redirects; `size` in bytes.

    `told` are the headers, in lower case, that the first host sent on the way.
    """

    request: Request
    size: int
    etag: str
    told: Mapping[str, str] = field(default_factory=dict)


def look(url: str, headers: Mapping[str, str], environ: Mapping[str, str]) -> Seen:
    """Ask for the first byte of `url`; credentials in `headers` go to its host alone.

    Raises `AccessError`, `MissingError`, or `UnreachableError` after three attempts.
    """
    seen: Seen = _tried(url, environ, lambda connections: _look(connections, url, headers))
    return seen


def page(url: str, headers: Mapping[str, str], environ: Mapping[str, str]) -> Any:
    """Return the JSON document at `url`; the errors are those of `look`."""
    return _tried(url, environ, lambda connections: _page(connections, url, headers))


def lasting(
    url: str, headers: Mapping[str, str], first: Seen, environ: Mapping[str, str]
) -> Callable[[], Request]:
    """Return a maker of requests that follows the redirects anew every ten minutes.

    What a redirect leads to is often signed and valid for an hour only.
    """
    lock = threading.Lock()
    kept: list[Any] = [first.request, time.monotonic() + ADDRESS_SECONDS]

    def request() -> Request:
        with lock:
            if time.monotonic() >= kept[1]:
                kept[:] = [look(url, headers, environ).request, time.monotonic() + ADDRESS_SECONDS]
            made: Request = kept[0]
            return made

    return request


def _tried(url: str, environ: Mapping[str, str], ask: Callable[[Client], Any]) -> Any:
    seconds, reason = patience_of(environ).probe, ""
    with Client(settings_in(environ), connect=CONNECT_SECONDS, read=seconds) as client:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return ask(client)
            except UntrustedError as error:
                raise UnreachableError(
                    f"The certificate of {bare_address(url)} is not trusted: {error.why}.",
                    remedy=CA_ADVICE,
                ) from None
            except RedirectError as error:
                raise UnreachableError(f"{error.message}.", remedy="check the address") from None
            except UnavailableError as error:
                reason, wait = error.message, 0.0
            except _BusyError as error:
                reason, wait = f"{bare_address(url)}: {error}", error.wait
            if attempt < ATTEMPTS:
                time.sleep(pause(attempt, wait))
    raise UnreachableError(
        f"{reason} ({ATTEMPTS} attempts).", remedy="check the address and the network"
    )


class _BusyError(Exception):
    """The server says that another attempt may do; `wait` is its wish in seconds."""

    def __init__(self, status: int, wait: str) -> None:
        super().__init__(f"status {status}")
        self.wait = min(float(wait), 30.0) if wait.isdecimal() else 0.0


def _look(client: Client, url: str, headers: Mapping[str, str]) -> Seen:
    sent = {**IDENTIFICATION, **headers, "Range": "bytes=0-0"}
    with client.request("GET", url, headers=sent) as reply:
        _refuse(reply, url, empty=True)
        plain = {name: value for name, value in reply.sent.items() if name != "Range"}
        return Seen(
            request=Request(url=reply.url, headers=plain),
            size=_size(reply, url),
            etag=reply.headers.get("ETag", ""),
            told=reply.told,
        )


def _page(client: Client, url: str, headers: Mapping[str, str]) -> Any:
    with client.request("GET", url, headers={**IDENTIFICATION, **headers}) as reply:
        _refuse(reply, url)
        try:
            return json.loads(reply.stream.read(PAGE_LIMIT))
        except ValueError:
            raise StorageError(
                f"{bare_address(url)} sends no JSON of sensible size.", remedy="check the endpoint"
            ) from None


def _refuse(reply: Reply, url: str, *, empty: bool = False) -> None:
    status = reply.status
    if status in (OK, PARTIAL) or (empty and status == EMPTY):
        return
    if status in BUSY:
        raise _BusyError(status, reply.headers.get("Retry-After", ""))
    if status in (401, 403):
        raise AccessError(
            f"Access denied to {bare_address(url)} (status {status}{_said(reply)}).",
            remedy="name the variable with a valid token in `auth`, or set the hub's own",
        )
    if status in (404, 410):
        raise MissingError(f"Nothing is at {bare_address(url)}.", remedy="check the address")
    raise UnreachableError(
        f"{bare_address(url)} answers with status {status}.", remedy="check the address"
    )


def _said(reply: Reply) -> str:
    """Return why the hub refuses, such as a licence that is to be accepted on its website."""
    words = reply.headers.get("X-Error-Message", "")
    line = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return f": {line[:LONGEST_REASON]}" if line else ""


def _size(reply: Reply, url: str) -> int:
    """Return how many bytes the whole file has."""
    if reply.headers.get("Content-Type", "").startswith("text/html"):
        raise AccessError(
            f"{bare_address(url)} sends a web page instead of a file.",
            remedy="it may want a login: name the variable with your token in `auth`",
        )
    if reply.headers.get("Content-Encoding", "identity") != "identity":
        raise UnreachableError(
            f"{bare_address(url)} compresses the file on its way.", remedy="use another source"
        )
    told = re.fullmatch(
        r"bytes (?:\*|0-0)/([0-9]{1,18})", reply.headers.get("Content-Range", "").strip()
    )
    if told:
        return int(told[1])
    length = reply.headers.get("Content-Length", "")
    if reply.status == OK and _LENGTH.fullmatch(length):
        return int(length)
    raise UnreachableError(
        f"{bare_address(url)} does not say how large the file is.", remedy="use another source"
    )
