"""The one HTTP client: whom to trust, by which proxy, and to where redirects may lead.

Every room uses it but the vendored `transfer/`, which gets the same by its environment
(`comfykiln.network.host.environment_of`). No message holds a credential of an address or a proxy.
"""

from __future__ import annotations

import base64
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import quote, unquote
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # not in the stubs

from comfykiln.errors import DocumentError, NotPossibleError
from comfykiln.parsing.values import WEB, AddressError, join_url, split_url
from comfykiln.system.gate import bare_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    import urllib3

    from comfykiln.network.indexes import IndexSettings

    Body = bytes | Iterable[bytes | memoryview]

MAX_REDIRECTS = 5
REDIRECTED = frozenset({301, 302, 303, 307, 308})
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What a person can do about a certificate that this machine does not trust.
CA_ADVICE = "name its CA by --ca-bundle FILE or SSL_CERT_FILE"
PRIVATE = frozenset({"authorization", "cookie", "proxy-authorization"})
# What a Location may hold besides letters and digits, "%" too since it may be quoted already.
_QUOTED = "%/:=&?~#+!$,;'@()*[]"


class UnavailableError(NotPossibleError):
    """An address cannot be used now: no such host, no answer in time, or a refusal."""


class TlsError(UnavailableError):
    """Something answers, but no TLS comes about with it."""


class UntrustedError(TlsError):
    """The certificate of the address is not trusted here; `why` is TLS's reason."""

    def __init__(self, url: str, why: str) -> None:
        told = f"{bare_address(url)}: its certificate is not trusted: {why} ({CA_ADVICE})"
        super().__init__(told, remedy=CA_ADVICE)
        self.why = why


class RedirectError(UnavailableError):
    """A redirect leads to where none is followed; another attempt would not help."""


class StatusError(UnavailableError):
    """The server answers, but with an error; `status` is its code."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"{bare_address(url)}: answers {status}")
        self.status = status


class Stream(Protocol):
    """The bytes of an answer."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, fewer only at the end."""

    def read1(self, size: int, /) -> bytes:
        """Return what is there, up to `size` bytes; nothing at the end only."""

    def close(self) -> None:
        """Read no more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer whose body is still to be read from `stream`.

    `url` is where, after redirects, and `sent` are the headers that went there; `told` are those,
    in lower case, that the first host gave on the way.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    stream: Stream
    sent: Mapping[str, str] = field(default_factory=dict, repr=False)
    told: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def media_type(self) -> str:
        """What the body is, without parameters."""
        said = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return said or "text/plain"


class Client:
    """Connections to any hosts, kept open between requests, for any number of threads.

    `connect` and `read` are seconds: for a connection, and for the next byte.
    """

    def __init__(self, settings: IndexSettings, *, connect: float, read: float) -> None:
        self._settings, self._seconds = settings, (connect, read)
        self._pools: dict[tuple[str, bool], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; the next request opens a new one."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()
            self._pools.clear()

    @contextmanager
    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        redirects: int = MAX_REDIRECTS,
    ) -> Iterator[Reply]:
        """Send one request, follow redirects, and yield the answer, whatever its status.

        Credentials, of the address or in `headers`, go to no other host. With `redirects` 0 a
        redirect is an answer like any other. Raises `UnavailableError`, also while reading.
        """
        plain, sent = _without_login(url, headers or {})
        with network_faults(url):
            reply = self._followed(method, plain, sent, body, redirects)
            try:
                yield reply
            finally:
                reply.stream.close()

    def _followed(
        self, method: str, url: str, sent: Mapping[str, str], body: Body | None, redirects: int
    ) -> Reply:
        told: dict[str, str] = {}
        here, first = url, split_url(url).netloc
        for _ in range(redirects + 1):
            answer = self._sent(method, here, sent, body)
            if split_url(here).netloc == first:
                told |= {name.lower(): value for name, value in answer.headers.items()}
            target = answer.headers.get("Location")
            if answer.status not in REDIRECTED or not redirects:
                return Reply(
                    url=here,
                    status=answer.status,
                    headers=answer.headers,
                    stream=cast("Stream", answer),
                    sent=sent,
                    told=told,
                )
            answer.drain_conn()
            if not target:
                raise RedirectError(f"{bare_address(url)}: redirects to nowhere")
            here, sent = _redirected(here, target, sent)
        raise RedirectError(f"{bare_address(url)}: redirects in a circle")

    def _sent(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None
    ) -> urllib3.BaseHTTPResponse:
        import urllib3  # noqa: PLC0415  # a tenth of a second, where it is used

        connect, read = self._seconds
        return self._pool(url).urlopen(
            method,
            url,
            headers=headers,
            body=cast("Any", body),
            redirect=False,
            retries=False,
            timeout=urllib3.Timeout(connect=connect, read=read),
            preload_content=False,
            decode_content=False,
            enforce_content_length=False,
        )

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_of(url, self._settings.proxies)
        insecure = (split_url(url).hostname or "") in self._settings.insecure_hosts
        with self._lock:
            key = (proxy, insecure)
            if key not in self._pools:
                self._pools[key] = _pool(proxy, _tls(self._settings.ca_bundle, insecure=insecure))
            return self._pools[key]


def proxy_of(url: str, proxies: Mapping[str, str]) -> str:
    """Return the proxy that `url` is reached by, '' for none; this very machine needs none.

    `proxies` has the names of the variables, in lower case.
    """
    parts = split_url(url)
    rules = {"no": proxies.get("no_proxy", "")}
    own = parts.hostname in LOOPBACK or proxy_bypass_environment(parts.netloc, rules)
    return "" if own else scheme_proxy(parts.scheme, proxies)


def scheme_proxy(scheme: str, proxies: Mapping[str, str]) -> str:
    """Return the proxy for `http` or `https`, '' for none; only HTTP proxies are spoken to."""
    found = proxies.get(f"{scheme}_proxy") or proxies.get("all_proxy", "")
    proxy = found if "://" in found or not found else f"http://{found}"
    return proxy if proxy.startswith("http") else ""


@contextmanager
def network_faults(url: str) -> Iterator[None]:
    """Turn the faults of the network into `UnavailableError` with a reason for people."""
    from urllib3.exceptions import HTTPError, ProxyError  # noqa: PLC0415  # where it is used

    try:
        yield
    except (HTTPError, OSError) as error:
        cause = _root(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise UntrustedError(url, cause.verify_message) from error
        kind = TlsError if isinstance(cause, ssl.SSLError) else UnavailableError
        by = "the proxy: " if isinstance(error, ProxyError) else ""
        raise kind(f"{bare_address(url)}: {by}{_reason(cause)}") from error


def _root(error: BaseException) -> BaseException:
    """Return the first cause of a fault, which says most to people."""
    inner = (getattr(error, "original_error", None), *error.args, error.__cause__)
    return next((_root(cause) for cause in inner if isinstance(cause, BaseException)), error)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _without_login(url: str, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the address without its credentials, and these among the headers."""
    parts = split_url(url)
    if parts.scheme not in WEB:
        raise UnavailableError(
            f"{bare_address(url)}: {parts.scheme or 'no scheme'} is not supported"
        )
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    sent = {"User-Agent": "comfykiln", **headers}
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        sent["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return plain, sent


def _redirected(url: str, target: str, sent: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return where a redirect leads and what to send there; never from HTTPS to anything else."""
    try:
        # A header's bytes come as Latin-1; many hosts put spaces and UTF-8 there as they are.
        after = split_url(join_url(url, quote(target, _QUOTED, encoding="latin-1")))
    except AddressError:
        raise RedirectError(f"{bare_address(url)}: redirects to what is no address") from None
    before = split_url(url)
    if after.scheme not in WEB or (before.scheme, after.scheme) == ("https", "http"):
        raise RedirectError(f"{bare_address(url)}: redirects to {after.scheme}, which is refused")
    same = (before.scheme, before.netloc) == (after.scheme, after.netloc)
    kept = {name: text for name, text in sent.items() if same or name.lower() not in PRIVATE}
    plain = after._replace(netloc=after.netloc.rpartition("@")[2], fragment="")
    return plain.geturl(), kept


def _tls(bundle: Path | None, *, insecure: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(bundle) if bundle else None)
    except (ssl.SSLError, OSError) as error:
        raise DocumentError(
            f"{bundle} holds no usable CA certificates: {error}",
            remedy="name a file of PEM certificates",
        ) from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _pool(proxy: str, context: ssl.SSLContext) -> urllib3.PoolManager:
    import urllib3  # noqa: PLC0415  # as above

    if context.verify_mode == ssl.CERT_NONE:  # the person's own choice, told by nobody twice
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    options: dict[str, Any] = {"ssl_context": context, "maxsize": 8, "blocksize": 1 << 20}
    if not proxy:
        return urllib3.PoolManager(**options)
    auth = split_url(proxy).netloc.rpartition("@")[0]
    login = urllib3.make_headers(proxy_basic_auth=unquote(auth)) if auth else {}
    return urllib3.ProxyManager(proxy, proxy_headers=login, proxy_ssl_context=context, **options)
