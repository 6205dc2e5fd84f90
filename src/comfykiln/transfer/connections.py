"""One thread's connections: kept alive, cancellable, through the proxy of the environment."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import socket
import ssl
import urllib.request
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from .errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
REDIRECTS = 5
REDIRECTED = (301, 302, 303, 307, 308)
# What an address may hold besides letters and digits, "%" among it since it may be quoted already.
_QUOTED = "%/:=&?~#+!$,;'@()*[]"
PRIVATE_HEADERS = ("authorization", "cookie", "x-amz-security-token")

# What a broken connection, a deaf server or a torn answer looks like: worth another attempt.
BROKEN = (OSError, http.client.HTTPException)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A GET; neither URL nor headers appear in any message, since both can hold a secret."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Connections:
    """The connections of one thread, one per host.

    `abort` may be called from another thread: it wakes a read that waits and refuses new ones.
    """

    def __init__(self, *, read_seconds: float = READ_SECONDS) -> None:
        self._read_seconds = read_seconds
        self._open: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._latest: http.client.HTTPConnection | None = None
        self._aborted = False

    def get(self, request: Request) -> http.client.HTTPResponse:
        """Send `request` and return the answer, whatever its status, after at most five redirects.

        Credentials go to the first host only, and never from https to http.
        Raises one of `BROKEN`, or `UnreachableError` for a redirect that cannot be followed.
        """
        url, headers = request.url, dict(request.headers)
        for _ in range(REDIRECTS + 1):
            response = self.send(url, headers)
            target = response.getheader("Location")
            if response.status not in REDIRECTED or not target:
                return response
            response.read()
            url, headers = redirected(url, target, headers)
        raise UnreachableError("The server redirects in a circle.", remedy="check the address")

    def plain_socket(self) -> socket.socket | None:
        """Return the socket of the latest answer, None where TLS or its end comes with it."""
        sock = self._latest.sock if self._latest is not None else None
        return sock if type(sock) is socket.socket else None

    def abort(self) -> None:
        """End every transfer of this thread at once."""
        self._aborted = True
        for connection in list(self._open.values()):
            sock = connection.sock
            if sock is not None:
                with contextlib.suppress(OSError):  # it may be closing by itself
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close every connection; the next `get` opens a new one."""
        while self._open:
            self._open.popitem()[1].close()

    def send(self, url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Send one GET and return the answer, be it a redirect; raises one of `BROKEN`."""
        if self._aborted:
            raise ConnectionAbortedError("cancelled")
        parts = urlsplit(url)
        connection, target = self._connection(parts)
        proxy = _proxy(parts) if parts.scheme == "http" else None
        if proxy is not None:
            headers = {**headers, **_proxy_login(proxy)}
        try:
            return self._exchange(connection, target, headers)
        except BROKEN:
            # A kept connection may have been closed meanwhile, so a fresh one gets a try.
            fresh = connection.sock is None
            connection.close()
            if fresh or self._aborted:
                raise
        return self._exchange(connection, target, headers)

    def _exchange(
        self, connection: http.client.HTTPConnection, target: str, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        if connection.sock is None:
            connection.timeout = CONNECT_SECONDS
            connection.connect()
            connected: socket.socket | None = connection.sock
            if connected is not None:
                connected.settimeout(self._read_seconds)
        self._latest = connection
        connection.request("GET", target, headers=dict(headers))
        return connection.getresponse()

    def _connection(self, parts: SplitResult) -> tuple[http.client.HTTPConnection, str]:
        key = (parts.scheme, parts.netloc)
        if key not in self._open:
            self._open[key] = _new(parts)
        path = parts.path or "/"
        target = f"{path}?{parts.query}" if parts.query else path
        if parts.scheme == "http" and _proxy(parts):
            target = f"http://{parts.netloc}{target}"  # a proxy wants the whole URL
        return self._open[key], target


def _new(parts: SplitResult) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port
    proxy = _proxy(parts)
    if proxy is None:
        if parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, context=tls_context())
        return http.client.HTTPConnection(host, port)
    if proxy.scheme not in ("", "http"):
        raise UnreachableError(
            f"The proxy for {parts.scheme} is a {proxy.scheme} proxy, which is not supported.",
            remedy="name an http:// proxy, or take the host out with NO_PROXY",
        )
    if parts.scheme == "https":
        tunnel = http.client.HTTPSConnection(
            proxy.hostname or "", proxy.port or 80, context=tls_context()
        )
        tunnel.set_tunnel(host, port, headers=_proxy_login(proxy))
        return tunnel
    return http.client.HTTPConnection(proxy.hostname or "", proxy.port or 80)


def _proxy(parts: SplitResult) -> SplitResult | None:
    url = urllib.request.getproxies().get(parts.scheme)
    if not url or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urlsplit(url if "://" in url else f"http://{url}")


def _proxy_login(proxy: SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


def redirected(url: str, target: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Return where to go and with which headers; raise where that would weaken the transfer."""
    before, after = urlsplit(url), _target(url, target)
    if after.scheme not in ("http", "https") or (before.scheme, after.scheme) == ("https", "http"):
        raise UnreachableError(
            f"The server redirects from {before.scheme} to {after.scheme or 'nowhere'}.",
            remedy="check the address; transfers never leave https",
        )
    if before.netloc != after.netloc:
        headers = {k: v for k, v in headers.items() if k.lower() not in PRIVATE_HEADERS}
    return after.geturl(), headers


def _target(url: str, target: str) -> SplitResult:
    """Return where a Location header leads, quoted as a request line wants it."""
    try:
        # A header's bytes come as Latin-1; many hosts put spaces and UTF-8 there as they are.
        found = urlsplit(urljoin(url, quote(target, _QUOTED, encoding="latin-1")))
        _ = found.port  # it is checked only where it is read
    except ValueError:
        raise UnreachableError(
            f"The server {urlsplit(url).hostname} redirects to what is no address.",
            remedy="report it to who runs the server, or use another source",
        ) from None
    return found


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Return the context that verifies servers, with the CA bundle that boto3 would use too."""
    bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle and Path(bundle).is_file():
        return ssl.create_default_context(cafile=bundle)
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not (paths.cafile or paths.capath) and os.name == "posix":
        import botocore  # noqa: PLC0415  # only a Python without a system bundle needs its copy

        context.load_verify_locations(Path(botocore.__file__).parent / "cacert.pem")
    return context
