"""The host's way to its package index: uv's settings, else pip's; proxies; the CA bundle.

All of it may hold credentials: `step_environment` is handed to build steps as a secret, and nothing
from here is printed without `comfykiln.system.gate.bare_address`.
"""

from __future__ import annotations

import netrc
import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from comfykiln.errors import DocumentError, KilnError
from comfykiln.network.pip import CA_VARIABLES, PipSettings, pip_settings, system_bundle
from comfykiln.parsing.values import WEB, AddressError, split_url
from comfykiln.system import process

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
# What uv knows beside the addresses, handed to the steps as it stands.
PASSED = re.compile(
    r"UV_INDEX_[A-Z0-9_]+_(USERNAME|PASSWORD)|UV_INDEX_STRATEGY"
    r"|UV_HTTP_(TIMEOUT|CONNECT_TIMEOUT|RETRIES)"
)

_PROXY_HOST = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexSettings:
    """How this host reaches package indexes.

    `default_index` is empty where no setting names one; `extra` and `find_links` are in order of
    precedence; `storage_ca_bundle` is another CA bundle for models, as AWS's tools are told it;
    `proxies` has the lower-case variable names as keys; `passed` are further variables that uv
    reads. Addresses keep their credentials: hand them on, never print them.
    """

    default_index: str = field(default="", repr=False)
    extra: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = field(default=(), repr=False)
    insecure_hosts: tuple[str, ...] = ()
    ca_bundle: Path | None = None
    storage_ca_bundle: Path | None = None
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    passed: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def local_only(self) -> tuple[str, ...]:
        """The folders of this host among the addresses, which no build step can read."""
        every = (self.default_index, *self.extra, *self.find_links)
        return tuple(address for address in every if address and not _remote(address))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Said:
    """What one tool's settings say, with nothing filled in."""

    default: str = ""
    extra: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()


def host_indexes(
    environ: Mapping[str, str],
    home: Path,
    *,
    ca_bundle: Path | None = None,
    pip_files: Sequence[Path] | None = None,
    uv_files: Sequence[Path] | None = None,
) -> IndexSettings:
    """Return the host's settings: what uv says, and where it says nothing, what pip says.

    `ca_bundle` overrides the CA variables; `pip_files` (the last wins) and `uv_files` (the first
    wins) are the settings files to read, by default those that the tools read. Raises
    `DocumentError` for a file that cannot be read and for a CA bundle that is not there.
    """
    pip = pip_settings({**environ, "HOME": str(home)}, files=pip_files)
    uv = _uv(environ, _uv_files(environ, home) if uv_files is None else uv_files)
    passed = {name: value for name, value in environ.items() if PASSED.fullmatch(name)}
    if pip.extra_index_urls and not uv.extra:
        # pip takes the best version of all its indexes, uv the first index that has the name.
        passed.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    if pip.timeout:
        passed.setdefault("UV_HTTP_TIMEOUT", pip.timeout)
    default = uv.default or pip.index_url
    extra = dict.fromkeys(uv.extra or pip.extra_index_urls)
    return IndexSettings(
        default_index=_with_netrc(default, environ, home),
        extra=tuple(_with_netrc(url, environ, home) for url in extra if url != default),
        find_links=uv.find_links or pip.find_links,
        insecure_hosts=uv.insecure or pip.trusted_hosts,
        ca_bundle=_ca_bundle(environ, pip, ca_bundle),
        storage_ca_bundle=None if ca_bundle else _first_bundle(_of_storage(environ)),
        proxies=proxies_of(environ, pip),
        passed=passed,
    )


def step_environment(settings: IndexSettings) -> dict[str, str]:
    """Return the variables by which uv in a build step reaches what the host reaches.

    Folders of the host are left out: a step cannot read them. The CA bundle is not named here,
    since its place inside the step is the step's affair.
    """
    default = effective_index(settings)
    values = {
        "UV_DEFAULT_INDEX": default if _remote(default) else "",
        "UV_INDEX": " ".join(filter(_remote, settings.extra)),
        "UV_FIND_LINKS": ",".join(filter(_remote, settings.find_links)),
        "UV_INSECURE_HOST": " ".join(settings.insecure_hosts),
    }
    chosen = {name: value for name, value in values.items() if value}
    return {**chosen, **settings.passed, **_both_cases(settings.proxies)}


def effective_index(settings: IndexSettings) -> str:
    """Return the default index: the host's setting, else the one built into uv, asked from uv."""
    if settings.default_index:
        return settings.default_index
    argv = [uv_program(), "pip", "compile", "--quiet", "--no-header", "--no-config", "--offline"]
    argv += ["--python", sys.executable]
    text = process.capture([*argv, "--emit-index-url", "-"], stdin="", env={}, timeout=30)
    for line in text.splitlines():
        if line.startswith("--index-url "):
            return line.removeprefix("--index-url ").strip()
    raise KilnError(
        "uv does not say which package index it uses by default",
        remedy="name one: export UV_DEFAULT_INDEX=https://…/simple",
    )


def uv_program() -> str:
    """Return the path of the uv program that was installed with the toolkit."""
    import uv  # noqa: PLC0415  # only to find the program

    return uv.find_uv_bin()


def _uv(environ: Mapping[str, str], paths: Sequence[Path]) -> _Said:
    said = _Said(
        default=_plain(environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or ""),
        extra=_words(environ.get("UV_INDEX", ""), environ.get("UV_EXTRA_INDEX_URL", "")),
        find_links=tuple(filter(None, re.split(r"[,\s]+", environ.get("UV_FIND_LINKS", "")))),
        insecure=_words(environ.get("UV_INSECURE_HOST", "")),
    )
    return _merged([said, *(_uv_file(path) for path in paths)])


def _uv_files(environ: Mapping[str, str], home: Path) -> list[Path]:
    """Return the files uv reads as its documentation orders them: the person's, the machine's."""
    if environ.get("UV_NO_CONFIG"):
        return []
    if named := environ.get("UV_CONFIG_FILE"):
        return [Path(named)]
    own = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    folders = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    system = [*(Path(folder) / "uv" / "uv.toml" for folder in folders), Path("/etc/uv/uv.toml")]
    return [own / "uv" / "uv.toml", *[path for path in system if path.is_file()][:1]]


def _uv_file(path: Path) -> _Said:
    if not path.is_file():
        return _Said()
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
        return _merged([_uv_table(raw), _uv_table(raw.get("pip", {}))])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path} is not TOML: {error}", remedy="fix that line") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise DocumentError(
            f"{path} has an index setting that cannot be read: {error}",
            remedy="give each [[index]] a url",
        ) from error


def _uv_table(raw: Mapping[str, Any]) -> _Said:
    entries = [entry for entry in raw.get("index", []) if not entry.get("explicit")]
    defaults = [entry["url"] for entry in entries if entry.get("default")]
    named = [entry["url"] for entry in entries if not entry.get("default")]
    return _Said(
        default=(defaults or [raw.get("index-url", "")])[0],
        extra=(*named, *raw.get("extra-index-url", [])),
        find_links=tuple(raw.get("find-links", [])),
        insecure=tuple(raw.get("allow-insecure-host", [])),
    )


def _merged(said: Iterable[_Said]) -> _Said:
    """Join settings, the first with precedence: uv adds lists and takes the first default."""
    every = list(said)
    return _Said(
        default=next((entry.default for entry in every if entry.default), ""),
        extra=tuple(dict.fromkeys(url for entry in every for url in entry.extra)),
        find_links=tuple(dict.fromkeys(url for entry in every for url in entry.find_links)),
        insecure=tuple(dict.fromkeys(host for entry in every for host in entry.insecure)),
    )


def _words(*texts: str) -> tuple[str, ...]:
    return tuple(_plain(word) for text in texts for word in text.split())


def _plain(address: str) -> str:
    """Drop uv's `name=` in front of an address."""
    return re.sub(r"^[A-Za-z0-9_.-]+=(?=[a-z]+:|/)", "", address.strip())


def _remote(address: str) -> bool:
    return split_url(address).scheme in WEB


def _ca_bundle(environ: Mapping[str, str], pip: PipSettings, chosen: Path | None) -> Path | None:
    named = {name: environ.get(name, "") for name in ("SSL_CERT_FILE", *CA_VARIABLES)}
    every = {"--ca-bundle": str(chosen or ""), **named, "pip's setting cert": pip.ca_bundle}
    return _first_bundle(every) or system_bundle()


def _first_bundle(named: Mapping[str, str]) -> Path | None:
    """Return the first bundle that is named, by who names it; it must be there."""
    name, text = next(((name, text) for name, text in named.items() if text), ("", ""))
    path = Path(text).expanduser().absolute()
    if text and not path.is_file():
        raise DocumentError(
            f"{name} names the CA bundle {path}, which is no file",
            remedy="name a file of PEM certificates",
        )
    return path if text else None


def _of_storage(environ: Mapping[str, str]) -> dict[str, str]:
    return {"AWS_CA_BUNDLE": environ.get("AWS_CA_BUNDLE", "")}


def proxies_of(environ: Mapping[str, str], pip: PipSettings) -> dict[str, str]:
    """Return the proxies of the variables, else pip's, by the variables' lower-case names.

    Raises `DocumentError` for what is no address, before any program could print it.
    """
    found = {name: environ.get(name) or environ.get(name.upper()) for name in PROXY_VARIABLES}
    for name in ("http_proxy", "https_proxy"):
        found[name] = found[name] or pip.proxy
    chosen = {name: value for name, value in found.items() if value}
    for name, value in chosen.items():
        if name != "no_proxy" and not _is_proxy(value):
            raise DocumentError(
                f"{name} (or pip's setting proxy) is no address of a proxy; it is not shown here, "
                "as it may hold a password",
                remedy="write http://USER:PASSWORD@HOST:PORT, and in the password %2F for /, "
                "%23 for #, %3F for ?, %5B for [",
            )
    return chosen


def _is_proxy(address: str) -> bool:
    """Tell whether libraries and programs agree on the host and port of a proxy's address.

    A password with a bare / ? or # ends the address there: they take its start for the host.
    """
    try:
        parts = split_url(address if "://" in address else f"http://{address}")
    except AddressError:
        return False
    host = parts.netloc.rpartition("@")[2]
    plain = parts.path in ("", "/") and not parts.query and not parts.fragment
    return plain and address.isprintable() and _PROXY_HOST.fullmatch(host) is not None


def _both_cases(proxies: Mapping[str, str]) -> dict[str, str]:
    return {spelled: url for name, url in proxies.items() for spelled in (name, name.upper())}


def _with_netrc(address: str, environ: Mapping[str, str], home: Path) -> str:
    """Put the credentials of ~/.netrc into an address that has none: a build step has no netrc."""
    parts = split_url(address)
    path = Path(environ.get("NETRC") or home / ".netrc")
    if not _remote(address) or parts.username or not parts.hostname or not path.is_file():
        return address
    try:
        entry = netrc.netrc(path).hosts.get(parts.hostname)
    except (netrc.NetrcParseError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path} cannot be read: {error}", remedy="fix that line") from error
    if entry is None:
        return address
    userinfo = ":".join(quote(text, safe="") for text in (entry[0], entry[2]))
    return parts._replace(netloc=f"{userinfo}@{parts.netloc}").geturl()
