"""Requests to one registry: logins, retries, and its complaints in plain words."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.network.client import MAX_REDIRECTS, Client, UnavailableError
from comfykiln.oci import logins
from comfykiln.parsing.values import AddressError, join_url, split_url
from comfykiln.system.gate import bare_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from comfykiln.network.indexes import IndexSettings
    from comfykiln.oci.logins import TokenRequest
    from comfykiln.oci.references import Reference

TRIES = 5
CONNECT_SECONDS = 10.0
# A registry may hash a whole blob before it answers.
READ_SECONDS = 600.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
LONGEST_COMPLAINT = 300
_PASSING = {408, 429, 500, 502, 503, 504}
# What an answer may hold; blobs are sent, and never read here.
MAX_ANSWER = 64 << 20
_READING = {"GET", "HEAD"}


class BrokenError(KilnError):
    """The connection broke, or the registry cannot answer now: worth another try."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a registry said; `url` is where, after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    def header(self, name: str) -> str:
        """Return the value of a header, '' where there is none."""
        return self.headers.get(name, "")


@dataclass(kw_only=True)
class Transport:
    """The way to the registry of one reference, for any number of threads."""

    reference: Reference
    settings: IndexSettings
    login: logins.Login
    pause: float = FIRST_PAUSE
    _authorization: str = ""
    _scopes: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _client: Client = field(init=False)

    def __post_init__(self) -> None:
        self._client = Client(self.settings, connect=CONNECT_SECONDS, read=READ_SECONDS)

    @property
    def root(self) -> str:
        """The address of the registry; plain HTTP on loopback alone."""
        scheme = "http" if self.reference.loopback else "https"
        return f"{scheme}://{self.reference.host}"

    def url(self, path: str) -> str:
        """Return an address of the repository, such as that of `blobs/uploads/`."""
        return f"{self.root}/v2/{self.reference.repository}/{path}"

    def allow(self, scope: str) -> None:
        """Ask for this scope too whenever a token is asked for."""
        if scope not in self._scopes:
            self._scopes.add(scope)
            self._authorization = ""

    def disallow(self, scope: str) -> None:
        """Ask for this scope no more."""
        self._scopes.discard(scope)
        self._authorization = ""

    def ask(
        self,
        method: str,
        url: str,
        *,
        expected: Sequence[int],
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send a small request, several times if need be, and return an answer that was expected.

        Raises `KilnError` with the registry's own words otherwise.
        """
        last = BrokenError("")
        for attempt in range(TRIES):
            try:
                return self.once(method, url, expected=expected, headers=headers, body=body)
            except BrokenError as error:
                last = error
                if attempt < TRIES - 1:
                    self.wait(attempt)
        raise NotPossibleError(last.message, remedy=last.remedy) from last

    def once(
        self,
        method: str,
        url: str,
        *,
        expected: Sequence[int],
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes | memoryview] | None = None,
    ) -> Answer:
        """Send one request and return an answer that was expected; `body` may be a stream.

        A stream is read at most once: with an expired token it is for the caller to try again.
        """
        used = self._authorization
        answer = self._send(method, url, headers or {}, body)
        if answer.status == 401 and self._same_host(url):  # noqa: PLR2004  # Unauthorized
            self._log_in(answer, used)
            if not (body is None or isinstance(body, bytes)):
                raise BrokenError(f"{self.reference.registry}: the token had expired")
            answer = self._send(method, url, headers or {}, body)
        if answer.status in expected:
            return answer
        raise self._refused(method, url, answer)

    def wait(self, attempt: int) -> None:
        """Let some time pass before another try, twice as much each time."""
        time.sleep(min(self.pause * 2**attempt, LONGEST_PAUSE))

    def joined(self, answer: Answer) -> str:
        """Return the address that an answer's Location names; never one without TLS from TLS."""
        try:
            target = join_url(answer.url, answer.header("Location"))
        except AddressError:
            raise KilnError(
                f"{self.reference.registry} sends uploads to what is no address",
                remedy="report it to who runs the registry",
            ) from None
        if split_url(self.root).scheme == "https" and split_url(target).scheme != "https":
            raise KilnError(
                f"{self.reference.registry} sends uploads to {bare_address(target)}, without TLS",
                remedy="report it to who runs the registry",
            )
        return target

    def _log_in(self, answer: Answer, used: str) -> None:
        with self._lock:
            if self._authorization != used:
                return  # another thread was faster
            found = logins.authorization(
                answer.header("WWW-Authenticate"),
                self.login,
                sorted(self._scopes),
                self.reference.registry,
                self._token,
            )
            if not found or found == used:
                raise self._unauthorized(answer)
            self._authorization = found

    def _token(self, request: TokenRequest) -> bytes:
        method = "GET" if request.form is None else "POST"
        answer = self._send(method, request.url, request.headers, request.form, own=False)
        if answer.status in {400, 401, 403}:
            raise self._unauthorized(answer)
        if answer.status != 200:  # noqa: PLR2004  # OK
            raise self._refused(method, request.url, answer)
        return answer.body

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes | memoryview] | None,
        *,
        own: bool = True,
    ) -> Answer:
        sent = dict(headers)
        if own and self._authorization and self._same_host(url):
            sent["Authorization"] = self._authorization
        redirects = MAX_REDIRECTS if method in _READING else 0
        try:
            with self._client.request(
                method, url, headers=sent, body=body, redirects=redirects
            ) as reply:
                return Answer(
                    status=reply.status,
                    headers=reply.headers,
                    body=reply.stream.read(MAX_ANSWER),
                    url=reply.url,
                )
        except UnavailableError as error:
            raise self._broken(error) from error

    def _same_host(self, url: str) -> bool:
        return url.startswith(f"{self.root}/")

    def _refused(self, method: str, url: str, answer: Answer) -> KilnError:
        said = complaint(answer.body)
        where = f"{self.reference.registry}: {method} {bare_address(url)}"
        if answer.status in _PASSING:
            return BrokenError(
                f"{where}: answers {answer.status}{said}", remedy="the registry is busy: try later"
            )
        if answer.status in {401, 403}:
            return self._unauthorized(answer)
        remedy = "see the registry's reason; what was sent already is not sent again"
        if answer.status == 413:  # noqa: PLR2004  # Content Too Large
            remedy = "what stands before the registry limits the size of a request: raise it there"
        return KilnError(f"{where}: answers {answer.status}{said}", remedy=remedy)

    def _unauthorized(self, answer: Answer) -> KilnError:
        registry, repository = self.reference.registry, self.reference.repository
        who = self.login.username or ("a token" if self.login.identity_token else "")
        does = f"does not let {who} push" if who else "lets nobody push without a login"
        return KilnError(
            f"{registry} {does} to {repository}{complaint(answer.body)}",
            remedy=f"`docker login {registry}` with an account that may push there",
        )

    def _broken(self, error: UnavailableError) -> BrokenError:
        return BrokenError(
            f"the registry {self.reference.registry} cannot be reached: {error.message}",
            remedy=error.remedy or "check the address and the network (proxy, --ca-bundle FILE)",
        )


def complaint(body: bytes) -> str:
    """Return what a registry's JSON error says, behind a colon; '' when it says nothing.

    In one short line without control characters: a terminal obeys those.
    """
    try:
        errors = json.loads(body)["errors"]
        told = [(error.get("code"), error.get("message")) for error in errors]
        said = [" ".join(str(word) for word in words if word) for words in told]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    line = "".join(letter if letter.isprintable() else " " for letter in "; ".join(said))
    return f": {' '.join(line.split())[:LONGEST_COMPLAINT]}" if said else ""
