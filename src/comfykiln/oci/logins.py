"""Who we are to a registry: docker's own logins and credential helpers, and the tokens they buy."""

from __future__ import annotations

import base64
import json
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from comfykiln.errors import KilnError
from comfykiln.oci import references
from comfykiln.parsing.values import AddressError, split_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_HUB_KEY = "https://index.docker.io/v1/"
_PARAMETER = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """What `docker login` kept: a name and password, or an identity token; '' where it has none."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header, or '' without a name."""
        if not self.username:
            return ""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRequest:
    """How a token is asked for: a GET of `url`, or a POST of `form` where there is one."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: bytes | None = field(default=None, repr=False)


def of_docker(registry: str) -> Login:
    """Return the login that docker has for the registry, an empty one where it has none.

    Reads docker's config.json (DOCKER_CONFIG names another folder) and asks the credential helper
    that it names. Raises `KilnError` when the helper fails, or when either says what is no login.
    """
    from docker import auth  # noqa: PLC0415  # 130 ms, where it is used
    from docker.errors import DockerException  # noqa: PLC0415  # the same

    key = _HUB_KEY if registry == references.DOCKER_HUB else registry
    try:
        _require_json()
        with warnings.catch_warnings(action="ignore"):  # what it warns of, it raises too
            found = auth.load_config().resolve_authconfig(key) or {}
    except DockerException as error:
        raise _unread(registry, str(error)) from error
    except ValueError:  # its words may be those of a login
        raise _unread(registry, "they are not in the form that docker writes") from None
    values = {name.lower(): value for name, value in found.items() if value}
    return Login(
        username=values.get("username", ""),
        password=values.get("password", ""),
        identity_token=values.get("identitytoken", ""),
    )


def _require_json() -> None:
    """Raise `ValueError` where docker's config.json is no map; docker-py takes it for an old form.

    Nobody would learn then that there is a login in it.
    """
    from docker.utils import config  # noqa: PLC0415  # with docker-py

    path = Path(str(config.find_config_file() or ""))
    if path.suffix == ".json" and not isinstance(_json_of(path), dict):
        raise ValueError(path)


def _json_of(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise KilnError(
            f"{path} cannot be read: {error.strerror}",
            remedy="let the user that runs this read it, or name another folder: DOCKER_CONFIG",
        ) from error


def _unread(registry: str, why: str) -> KilnError:
    return KilnError(
        f"docker's credentials for {registry} cannot be read: {why}",
        remedy=f"look at docker's config.json and its credential helper, or "
        f"`docker login {registry}`",
    )


def token_request(
    challenge: Mapping[str, str], login: Login, scopes: Sequence[str], registry: str
) -> TokenRequest:
    """Return how to ask the token server that a registry's `Bearer` challenge names.

    Raises `KilnError` for a server without TLS outside loopback: no password goes there.
    """
    realm = challenge.get("realm", "")
    try:
        parts = split_url(realm)
    except AddressError:
        raise KilnError(
            f"{registry} sends its users to a token server that is no address",
            remedy="report it to who runs the registry",
        ) from None
    loopback = parts.hostname is not None and references.is_loopback(parts.hostname)
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise KilnError(
            f"{registry} sends its users to the token server {realm!r}, which has no TLS",
            remedy="do not log in to that registry; report it to who runs it",
        )
    asked = [("service", challenge.get("service", "")), *(("scope", entry) for entry in scopes)]
    if login.identity_token:
        form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", login.identity_token),
            ("client_id", "comfykiln"),
            ("service", challenge.get("service", "")),
            ("scope", " ".join(scopes)),
        ]
        return TokenRequest(
            url=realm,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            form=urlencode(form).encode(),
        )
    headers = {"Authorization": login.basic} if login.basic else {}
    joint = "&" if parts.query else "?"
    return TokenRequest(url=f"{realm}{joint}{urlencode(asked)}", headers=headers)


def challenge_of(header: str) -> tuple[str, dict[str, str]]:
    """Return the scheme, lower case, and the parameters of a WWW-Authenticate header."""
    scheme, _, rest = header.partition(" ")
    return scheme.lower(), {name.lower(): value for name, value in _PARAMETER.findall(rest)}


def token_of(body: bytes, registry: str) -> str:
    """Return the token in a token server's answer; raises `KilnError` when there is none."""
    try:
        answer = json.loads(body)
        token = answer.get("token") or answer.get("access_token")
    except (ValueError, AttributeError):
        token = None
    if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
        raise KilnError(
            f"the token server of {registry} answers without a token",
            remedy="try again later; report it to who runs the registry",
        )
    return token


def authorization(
    header: str,
    login: Login,
    scopes: Sequence[str],
    registry: str,
    fetch: Callable[[TokenRequest], bytes],
) -> str:
    """Return the Authorization header that answers a registry's challenge, '' when nothing can."""
    scheme, challenge = challenge_of(header)
    if scheme == "basic":
        return login.basic
    if scheme == "bearer":
        body = fetch(token_request(challenge, login, scopes, registry))
        return f"Bearer {token_of(body, registry)}"
    return ""
