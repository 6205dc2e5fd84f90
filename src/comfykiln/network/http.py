"""Pages and downloads over HTTP: bounded in time and size, no secret printed."""

from __future__ import annotations

import mimetypes
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from comfykiln.errors import DocumentError, KilnError
from comfykiln.network.client import Client, Reply, StatusError, TlsError, UnavailableError
from comfykiln.parsing.values import split_url
from comfykiln.system.gate import bare_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from comfykiln.network.indexes import IndexSettings

T = TypeVar("T")
CHUNK = 1 << 20
MAX_PAGE = 64 << 20
VARIABLE = "COMFYKILN_NETWORK_TIMEOUT"


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long to wait, in seconds: for a first answer, for the next byte, for a whole download."""

    probe: float = 8.0
    stall: float = 30.0
    total: float = 1800.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A small document: where it was found in the end, its media type, its bytes."""

    url: str
    media_type: str
    body: bytes


def patience_of(environ: Mapping[str, str]) -> Patience:
    """Return the waiting times; COMFYKILN_NETWORK_TIMEOUT sets that for the first answer."""
    text = environ.get(VARIABLE)
    if not text:
        return Patience()
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 600:  # noqa: PLR2004  # ten minutes are beyond any sense
        raise DocumentError(f"{VARIABLE} is {text!r}", remedy="give seconds, above 0 and up to 600")
    return Patience(probe=seconds, stall=max(seconds, 30.0))


def within(seconds: float, function: Callable[[], T], url: str) -> T:
    """Return what `function` returns, or raise `UnavailableError` when it takes longer.

    Name look-up and a server that sends a byte now and then know no time-out of their own, so the
    work is left behind in a thread that does not keep the program from ending.
    """
    results: list[T] = []
    faults: list[Exception] = []

    def work() -> None:
        try:
            results.append(function())
        except Exception as error:  # noqa: BLE001  # raised again by the caller's thread
            faults.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if faults:
        raise faults[0]
    if not results:
        raise UnavailableError(f"{bare_address(url)}: no answer within {seconds:g} s")
    return results[0]


def page(
    url: str,
    settings: IndexSettings,
    *,
    patience: Patience,
    headers: Mapping[str, str] | None = None,
) -> Page:
    """Return the document at `url`; the whole of it must come within `patience.probe`.

    Raises `UnavailableError`, and of these `StatusError` where the server answers with an error.
    """

    def work() -> Page:
        with _opened(url, settings, patience.probe, headers or {}) as reply:
            body = reply.stream.read(MAX_PAGE + 1)
            if len(body) > MAX_PAGE:
                raise UnavailableError(
                    f"{bare_address(url)}: the page is larger than {MAX_PAGE} bytes"
                )
            return Page(url=reply.url, media_type=reply.media_type, body=body)

    return within(patience.probe, work, url)


def silence_of(url: str, settings: IndexSettings, patience: Patience) -> str:
    """Return why nothing answers at `url`, or '' when anything does, be it an error."""
    try:
        page(url, settings, patience=patience, headers={"Range": "bytes=0-99"})
    except (StatusError, TlsError):
        return ""
    except UnavailableError as error:
        return error.message
    return ""


def chunks(
    url: str, settings: IndexSettings, *, size: int, patience: Patience, exact: bool = True
) -> Iterator[bytes]:
    """Yield the bytes at `url`, never more than `size` of them, in pieces of up to 1 MiB.

    Raises `UnavailableError` when it stalls, takes too long or, where `size` is exact, ends early.
    """
    deadline = time.monotonic() + patience.total
    done = 0
    with ExitStack() as stack:
        opened = partial(stack.enter_context, _opened(url, settings, patience.stall, {}))
        reply = within(patience.stall, opened, url)
        while chunk := reply.stream.read1(CHUNK):
            done += len(chunk)
            if done > size:
                raise KilnError(
                    f"{bare_address(url)} sends more than the {size} bytes that are "
                    + ("pinned" if exact else "allowed"),
                    remedy="do not trust that origin; check the pin, which names what to take",
                )
            yield chunk
            if time.monotonic() > deadline:
                raise UnavailableError(f"{bare_address(url)}: not done in {patience.total:g} s")
    if exact and done < size:
        raise UnavailableError(f"{bare_address(url)}: ended after {done} of {size} bytes")


@contextmanager
def _opened(
    url: str, settings: IndexSettings, seconds: float, headers: Mapping[str, str]
) -> Iterator[Reply]:
    """Yield the answer at an address, or the file of one of this machine (`file:`)."""
    if split_url(url).scheme == "file":
        with _local(url) as reply:
            yield reply
        return
    client = Client(settings, connect=seconds, read=seconds)
    with client, client.request("GET", url, headers=headers) as reply:
        if reply.status >= 300:  # noqa: PLR2004  # a redirect without an address, or an error
            raise StatusError(url, reply.status)
        yield reply


@contextmanager
def _local(url: str) -> Iterator[Reply]:
    path = Path(unquote(split_url(url).path))
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    try:
        with path.open("rb") as file:
            yield Reply(url=url, status=200, headers={"Content-Type": kind}, stream=file)
    except OSError as error:
        raise UnavailableError(f"{bare_address(url)}: {error.strerror}") from error
