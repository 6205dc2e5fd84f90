"""What a person set up for pip on this machine, told to uv as well.

pip reads pip.conf and PIP_*; uv reads neither. Whoever made pip work (a mirror, a company's CA, a
folder of wheels) expects the same of this program. Standard library only: it runs before the
Python environment exists.
"""

from __future__ import annotations

import configparser
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SECTIONS = ("global", "install")
SYSTEM_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/cert.pem"),
)
# In order; SSL_CERT_FILE, uv's own, goes before them, and pip.conf comes after.
CA_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass(frozen=True, kw_only=True, slots=True)
class PipSettings:
    """Where packages come from and how the connection is trusted; empty means the tools' default.

    Addresses may carry credentials: hand them on, never print them.
    """

    index_url: str = field(default="", repr=False)
    extra_index_urls: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    trusted_hosts: tuple[str, ...] = ()
    ca_bundle: str = ""
    client_cert: str = ""
    proxy: str = field(default="", repr=False)
    timeout: str = ""  # seconds

    def uv_environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return `environ` with these settings in uv's own variables; those set already stay."""
        wanted = {
            "UV_DEFAULT_INDEX": self.index_url,
            "UV_INDEX": " ".join(self.extra_index_urls),
            "UV_FIND_LINKS": ",".join(self.find_links),
            "UV_INSECURE_HOST": " ".join(self.trusted_hosts),
            "UV_HTTP_TIMEOUT": self.timeout,
            "SSL_CERT_FILE": self.ca_bundle,
            "SSL_CLIENT_CERT": self.client_cert,
            "HTTP_PROXY": self.proxy,
            "HTTPS_PROXY": self.proxy,
            "UV_SYSTEM_CERTS": "" if self.ca_bundle or not system_bundle() else "true",
        }
        if environ.get("UV_INDEX_URL"):
            del wanted["UV_DEFAULT_INDEX"]
        return {name: value for name, value in wanted.items() if value} | dict(environ)

    def uv_arguments(self) -> tuple[str, ...]:
        """Return what uv takes as an argument only.

        Files are checked by hash, so any of the indexes may serve them; uv would otherwise look
        no further than the first index that knows the name.
        """
        best = ("--index-strategy", "unsafe-best-match")
        return (*best, "--no-index") if self.no_index else best


def pip_settings(
    environ: Mapping[str, str] = os.environ, *, files: Sequence[Path] | None = None
) -> PipSettings:
    """Read pip's settings as pip does: its files in order, then the PIP_ variables over them.

    `files` are the files to read, the last one winning; by default those that pip reads.
    A file that pip itself could not read raises `DocumentError`.
    """
    found: dict[str, str] = {}
    for path in pip_files(environ) if files is None else files:
        found |= _from_file(path)
    found |= _from_environment(environ)
    return PipSettings(
        index_url=found.get("index-url", "").strip(),
        extra_index_urls=tuple(found.get("extra-index-url", "").split()),
        find_links=tuple(found.get("find-links", "").split()),
        no_index=found.get("no-index", "").strip().lower() in {"1", "true", "yes", "on"},
        trusted_hosts=tuple(found.get("trusted-host", "").split()),
        ca_bundle=_bundle(found, environ),
        client_cert=found.get("client-cert", "").strip(),
        proxy=found.get("proxy", "").strip(),
        timeout=(found.get("timeout") or found.get("default-timeout") or "").strip(),
    )


def pip_files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the configuration files pip reads on Linux, those that win coming last.

    As in pip's documentation: machine, person, environment, PIP_CONFIG_FILE; that variable set
    to the null device turns the files off.
    """
    own = environ.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:
        return
    home = Path(environ.get("HOME") or "/")
    for folder in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"):
        yield Path(folder) / "pip/pip.conf"
    yield Path("/etc/pip.conf")
    yield home / ".pip/pip.conf"
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"
    yield Path(sys.prefix) / "pip.conf"
    if own:
        yield Path(own)


def system_bundle() -> Path | None:
    """Return the machine's own CA bundle, or None on a machine that trusts nobody yet."""
    return next((path for path in SYSTEM_BUNDLES if path.is_file()), None)


def ca_bundle(environ: Mapping[str, str], settings: PipSettings) -> Path | None:
    """Return the CA bundle that connections of this machine are checked against, if any.

    The order: SSL_CERT_FILE, what counts for pip, the system's bundle.
    """
    named = environ.get("SSL_CERT_FILE") or settings.ca_bundle
    return Path(named) if named else system_bundle()


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy variables that are set, by upper-case name; values may hold a password."""
    values = {name: environ.get(name) or environ.get(name.lower()) or "" for name in PROXIES}
    return {name: value for name, value in values.items() if value}


def _from_file(path: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        text = path.read_text(encoding="utf-8")
        parser.read_string(text, source=str(path))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (configparser.Error, UnicodeDecodeError) as error:
        raise DocumentError(
            f"{path} is no settings file that pip could read: {error}",
            remedy="fix that file (`pip config list` shows whether pip accepts it)",
        ) from error
    found: dict[str, str] = {}
    for section in SECTIONS:
        if parser.has_section(section):
            found |= {_key(name): value for name, value in parser.items(section) if value}
    return found


def _bundle(found: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """Return the CA bundle for pip: its variable, those of other tools, then its files."""
    said = (environ.get(name, "") for name in CA_VARIABLES)
    return next(filter(None, said), found.get("cert", "")).strip()


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    prefix = "PIP_"
    return {
        _key(name.removeprefix(prefix)): value
        for name, value in environ.items()
        if name.startswith(prefix) and value
    }


def _key(name: str) -> str:
    return name.lower().removeprefix("--").replace("_", "-")
