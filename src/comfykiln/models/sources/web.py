"""Look at an address over HTTP: what would be read there, how much, and of which version."""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from comfykiln import __version__
from comfykiln.network.http import patience_of, redacted
from comfykiln.transfer.connections import (
    BROKEN,
    REDIRECTED,
    REDIRECTS,
    Connections,
    Request,
    redirected,
)
from comfykiln.transfer.errors import (
    AccessError,
    MissingError,
    StorageError,
    UnreachableError,
)
from comfykiln.transfer.reader import BUSY, pause

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable, Iterator, Mapping

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


def _tried(url: str, environ: Mapping[str, str], ask: Callable[[Connections], Any]) -> Any:
    for attempt in range(1, ATTEMPTS + 1):
        connections = Connections(read_seconds=patience_of(environ).probe)
        try:
            return ask(connections)
        except ssl.SSLCertVerificationError as error:
            raise UnreachableError(
                f"The certificate of {redacted(url)} is not trusted: {error.verify_message}.",
                remedy="behind a TLS proxy, name its CA in SSL_CERT_FILE and REQUESTS_CA_BUNDLE",
            ) from None
        except BROKEN as error:
            reason, wait = f"no answer ({type(error).__name__})", 0.0
        except _BusyError as error:
            reason, wait = str(error), error.wait
        finally:
            connections.close()
        if attempt == ATTEMPTS:
            raise UnreachableError(
                f"{redacted(url)} cannot be reached: {reason} ({ATTEMPTS} attempts).",
                remedy="check the address and the network",
            )
        time.sleep(pause(attempt, wait))
    raise AssertionError("the last attempt returns or raises")


class _BusyError(Exception):
    """The server says that another attempt may do; `wait` is its wish in seconds."""

    def __init__(self, status: int, wait: str) -> None:
        super().__init__(f"status {status}")
        self.wait = min(float(wait), 30.0) if wait.isdecimal() else 0.0


def _look(connections: Connections, url: str, headers: Mapping[str, str]) -> Seen:
    told: dict[str, str] = {}
    byte = {"Range": "bytes=0-0"}
    for request, response in _hops(connections, url, {**IDENTIFICATION, **headers, **byte}):
        if urlsplit(request.url).netloc == urlsplit(url).netloc:
            told |= {name.lower(): value for name, value in response.getheaders()}
        if response.status in REDIRECTED:
            continue
        _refuse(response, url, empty=True)
        plain = {name: value for name, value in request.headers.items() if name != "Range"}
        return Seen(
            request=Request(url=request.url, headers=plain),
            size=_size(response, url),
            etag=response.getheader("ETag", ""),
            told=told,
        )
    raise UnreachableError(
        f"{redacted(url)} redirects in a circle, or to nowhere.", remedy="check the address"
    )


def _page(connections: Connections, url: str, headers: Mapping[str, str]) -> Any:
    for _, response in _hops(connections, url, {**IDENTIFICATION, **headers}):
        if response.status in REDIRECTED:
            continue
        _refuse(response, url)
        try:
            return json.loads(response.read(PAGE_LIMIT))
        except ValueError:
            raise StorageError(
                f"{redacted(url)} sends no JSON of sensible size.", remedy="check the endpoint"
            ) from None
    raise UnreachableError(
        f"{redacted(url)} redirects in a circle, or to nowhere.", remedy="check the address"
    )


def _hops(
    connections: Connections, url: str, headers: Mapping[str, str]
) -> Iterator[tuple[Request, http.client.HTTPResponse]]:
    """Yield each request of a chain of redirects with its answer."""
    for _ in range(REDIRECTS + 1):
        response = connections.send(url, headers)
        try:
            yield Request(url=url, headers=headers), response
            target = response.getheader("Location")
            if response.status not in REDIRECTED or not target:
                return
            response.read()
        finally:
            response.close()
        url, headers = redirected(url, target, dict(headers))


def _refuse(response: http.client.HTTPResponse, url: str, *, empty: bool = False) -> None:
    status = response.status
    if status in (OK, PARTIAL) or (empty and status == EMPTY):
        return
    if status in BUSY:
        raise _BusyError(status, response.getheader("Retry-After", ""))
    if status in (401, 403):
        raise AccessError(
            f"Access denied to {redacted(url)} (status {status}{_said(response)}).",
            remedy="name the variable with a valid token in `auth`, or set the hub's own",
        )
    if status in (404, 410):
        raise MissingError(f"Nothing is at {redacted(url)}.", remedy="check the address")
    raise UnreachableError(
        f"{redacted(url)} answers with status {status}.", remedy="check the address"
    )


def _said(response: http.client.HTTPResponse) -> str:
    """Return why the hub refuses, such as a licence that is to be accepted on its website."""
    words = response.getheader("X-Error-Message", "")
    line = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return f": {line[:LONGEST_REASON]}" if line else ""


def _size(response: http.client.HTTPResponse, url: str) -> int:
    """Return how many bytes the whole file has."""
    if response.getheader("Content-Type", "").startswith("text/html"):
        raise AccessError(
            f"{redacted(url)} sends a web page instead of a file.",
            remedy="it may want a login: name the variable with your token in `auth`",
        )
    if response.getheader("Content-Encoding", "identity") != "identity":
        raise UnreachableError(
            f"{redacted(url)} compresses the file on its way.", remedy="use another source"
        )
    told = re.fullmatch(
        r"bytes (?:\*|0-0)/([0-9]{1,18})", response.getheader("Content-Range", "").strip()
    )
    if told:
        return int(told[1])
    length = response.getheader("Content-Length", "")
    if response.status == OK and _LENGTH.fullmatch(length):
        return int(length)
    raise UnreachableError(
        f"{redacted(url)} does not say how large the file is.", remedy="use another source"
    )
