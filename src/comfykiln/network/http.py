"""The one way to fetch over HTTP: bounded in time, size and redirects, no secret printed."""

from __future__ import annotations

import base64
import ssl
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from typing import IO, TYPE_CHECKING, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from comfykiln.errors import DocumentError, KilnError, NotPossibleError
from comfykiln.parsing.values import WEB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from urllib.response import addinfourl

    from comfykiln.network.indexes import IndexSettings

T = TypeVar("T")
CHUNK = 1 << 20
MAX_REDIRECTS = 5
MAX_PAGE = 64 << 20
VARIABLE = "COMFYKILN_NETWORK_TIMEOUT"


class UnavailableError(NotPossibleError):
    """An address cannot be used now: no such host, no answer in time, or a refusal."""


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


def redacted(url: str) -> str:
    """Return the address without user name, password and query: fit to print."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


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
        raise UnavailableError(f"{redacted(url)}: no answer within {seconds:g} s")
    return results[0]


def page(
    url: str,
    settings: IndexSettings,
    *,
    patience: Patience,
    headers: Mapping[str, str] | None = None,
) -> Page:
    """Return the document at `url`; the whole of it must come within `patience.probe`."""

    def work() -> Page:
        with _open(url, settings, patience.probe, headers or {}) as answer:
            body = answer.read(MAX_PAGE + 1)
            if len(body) > MAX_PAGE:
                raise UnavailableError(f"{redacted(url)}: the page is larger than {MAX_PAGE} bytes")
            return Page(url=answer.url, media_type=answer.headers.get_content_type(), body=body)

    with _network_faults(url):
        return within(patience.probe, work, url)


def silence_of(url: str, settings: IndexSettings, patience: Patience) -> str:
    """Return why nothing answers at `url`, or '' when anything does, be it an error."""
    try:
        page(url, settings, patience=patience, headers={"Range": "bytes=0-99"})
    except UnavailableError as error:
        cause = error.__cause__
        reason = cause.reason if isinstance(cause, URLError) else cause
        if isinstance(cause, HTTPError) or isinstance(reason, ssl.SSLError):
            return ""
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
    with _network_faults(url):
        open_it = lambda: _open(url, settings, patience.stall, {})  # noqa: E731  # named for `within`
        with within(patience.stall, open_it, url) as answer:
            while chunk := answer.read1(CHUNK):
                done += len(chunk)
                if done > size:
                    raise KilnError(
                        f"{redacted(url)} sends more than the {size} bytes that are "
                        + ("pinned" if exact else "allowed"),
                        remedy="do not trust that origin; check the pin, which names what to take",
                    )
                yield chunk
                if time.monotonic() > deadline:
                    raise UnavailableError(f"{redacted(url)}: not done in {patience.total:g} s")
    if exact and done < size:
        raise UnavailableError(f"{redacted(url)}: ended after {done} of {size} bytes")


class _Redirects(HTTPRedirectHandler):
    """Follow few redirects, none away from HTTPS, and take credentials to no other host."""

    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in WEB or (old.scheme == "https" and new.scheme == "http"):
            fp.close()
            raise UnavailableError(
                f"{redacted(req.full_url)}: redirects to {new.scheme}, which is refused"
            )
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            request.remove_header("Authorization")
        return request


class _Proxies(ProxyHandler):
    """The host's proxies, each redirect judged anew by no_proxy."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        everything = settings.get("all_proxy", "")
        chosen = {name: settings.get(f"{name}_proxy", everything) for name in ("http", "https")}
        super().__init__({name: url for name, url in chosen.items() if url.startswith("http")})
        self._bypass = {"no": settings.get("no_proxy", "")}

    def proxy_open(self, req: Request, proxy: str, type: str) -> object:  # noqa: A002  # urllib's name
        if req.host and _bypassed(req.host, self._bypass):
            return None
        return super().proxy_open(req, proxy, type)


def _bypassed(host: str, rules: Mapping[str, str]) -> bool:
    """Tell whether no_proxy names the host, by urllib's own reading of it."""
    return bool(urllib.request.proxy_bypass_environment(host, rules))  # type: ignore[attr-defined]  # missing in the stubs


def _open(
    url: str, settings: IndexSettings, timeout: float, headers: Mapping[str, str]
) -> addinfourl:
    parts = urlsplit(url)
    if parts.scheme not in (*WEB, "file"):
        raise UnavailableError(f"{redacted(url)}: {parts.scheme or 'no scheme'} is not supported")
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    request = Request(plain, headers={"User-Agent": "comfykiln", **headers})  # noqa: S310  # checked above
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        token = base64.b64encode(pair.encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    answer: addinfourl = _opener(settings, parts.hostname or "").open(request, timeout=timeout)
    return answer


def _opener(settings: IndexSettings, host: str) -> OpenerDirector:
    cafile = str(settings.ca_bundle) if settings.ca_bundle else None
    try:
        context = ssl.create_default_context(cafile=cafile)
    except (ssl.SSLError, OSError) as error:
        raise DocumentError(
            f"{cafile} holds no usable CA certificates: {error}",
            remedy="name a file of PEM certificates",
        ) from error
    if host in settings.insecure_hosts:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return build_opener(_Redirects, _Proxies(settings.proxies), HTTPSHandler(context=context))


@contextmanager
def _network_faults(url: str) -> Iterator[None]:
    """Turn the faults of the network into `UnavailableError` with a reason for people."""
    try:
        yield
    except HTTPError as error:
        error.close()
        raise UnavailableError(f"{redacted(url)}: answers {error.code}") from error
    except URLError as error:
        raise UnavailableError(f"{redacted(url)}: {_reason(error.reason)}") from error
    except (OSError, HTTPException) as error:
        raise UnavailableError(f"{redacted(url)}: {_reason(error)}") from error


def _reason(error: object) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.verify_message} (behind a TLS proxy, name its CA by --ca-bundle)"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
