"""Credentials of model sources: found by name, sent to their own host alone, never printed."""

from __future__ import annotations

import base64
import netrc
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.models.sources.addresses import is_loopback
from comfykiln.parsing.schemes import BY_NAME
from comfykiln.parsing.values import split_url
from comfykiln.transfer.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Mapping

PROFILES_VARIABLE = "COMFYKILN_PROFILES"


def headers_for(
    url: str, auth: str | None, environ: Mapping[str, str], *, usual: str = ""
) -> dict[str, str]:
    """Return the header that logs in at the host of `url`, none where nothing is known.

    In this order: the variable `auth`, which must be set; the hub's `usual` variable; .netrc.
    Raises `ProfileError` where a credential would go over an open line.
    """
    value = _named(auth, environ) if auth else environ.get(usual, "").strip()
    header = _authorization(value) if value else _from_netrc(split_url(url).hostname or "", environ)
    if not header:
        return {}
    parts = split_url(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ProfileError(
            f"{parts.hostname} is reached by {parts.scheme}, which shows credentials to anyone.",
            remedy="use its https address",
        )
    return {"Authorization": header}


def profiles_path(environ: Mapping[str, str]) -> Path:
    """Return where the S3 profiles lie, in the node pack's format."""
    named = environ.get(PROFILES_VARIABLE)
    return (Path(named) if named else Path("~/.comfyui-cloud-storage/profiles.json")).expanduser()


def usual(scheme: str) -> str:
    """Return the variable that holds the token of a scheme where `auth` names none, "" for none."""
    return BY_NAME[scheme].usual


def hub_token(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return `environ` with Hugging Face's token, from where its own tools keep it if unset."""
    variable = usual("hf")
    if environ.get(variable, "").strip():
        return environ
    home = Path(environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    path = Path(environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    try:
        return {**environ, variable: path.read_text(encoding="utf-8").strip()}
    except (FileNotFoundError, NotADirectoryError):
        return environ


def _named(variable: str, environ: Mapping[str, str]) -> str:
    value = environ.get(variable, "").strip()
    if not value:
        raise ProfileError(
            f"The environment variable {variable} is not set.",
            remedy=f"set {variable} to the token of that host",
        )
    return value


def _authorization(value: str) -> str:
    """Return the header for a token, or for `user:password`."""
    if any(not letter.isprintable() or ord(letter) > 126 for letter in value):  # noqa: PLR2004  # ASCII
        raise ProfileError(
            "A token holds characters that no token has.", remedy="copy it again, in one line"
        )
    if ":" in value:
        return "Basic " + base64.b64encode(value.encode()).decode()
    return f"Bearer {value}"


def _netrc_fault(error: Exception) -> str:
    """Return what is wrong with a .netrc, without the words there: one may be a password."""
    if isinstance(error, netrc.NetrcParseError):
        return f"line {error.lineno} is faulty"
    return (error.strerror or "") if isinstance(error, OSError) else "it is no UTF-8"


def _from_netrc(host: str, environ: Mapping[str, str]) -> str:
    """Return the login that .netrc has for this very host; its `default` goes to nobody."""
    path = Path(environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        entries = netrc.netrc(path).hosts
    except FileNotFoundError:
        return ""
    except (netrc.NetrcParseError, UnicodeDecodeError, OSError) as error:
        raise ProfileError(
            f"{path} cannot be read: {_netrc_fault(error)}.", remedy="correct it"
        ) from None
    if not host or host not in entries:
        return ""
    login, _, password = entries[host]
    pair = f"{login}:{password or ''}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
