"""What apt on this host knows: Debian sources for a suite, and how they are reached."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.network.client import UnavailableError, scheme_proxy
from comfykiln.network.http import silence_of
from comfykiln.parsing.values import WEB, split_url
from comfykiln.system import process

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from comfykiln.network.http import Patience
    from comfykiln.network.indexes import IndexSettings

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Names that a Debian source may go by; the archive of each also has every other suite.

RELEASES = {"bullseye", "bookworm", "trixie", "forky", "sid"}
RELEASES |= {"oldstable", "stable", "testing", "unstable"}
POCKETS = ("", "-updates", "-security")
LISTS = Path("/var/lib/apt/lists")
# A line of `apt-get update --print-uris`: the address in quotes, the name of the list, the size.
RELEASE_FILE = re.compile(r"'(?P<uri>\S+)/dists/(?P<release>[^/\s]+)/InRelease' (?P<name>\S+) .*")
PACKAGES = re.compile(r"'(?P<uri>\S+)/dists/(?P<release>[^/\s]+)/main/binary-[^/]+/Packages\S*' .*")
# What apt must know to reach the archive, beside the sources.
NETWORK = re.compile(
    r"Acquire::(https?)::(Proxy(-Auto-Detect)?|ProxyAutoDetect|CAInfo|CAPath|Verify-\w+"
    r"|SslCert|SslKey|Timeout|User-Agent)(::[\w.*-]+(::[\w-]+)?)?|Acquire::Retries"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """One archive that apt reads: its address and the suite (`trixie`, `trixie-updates`)."""

    uri: str
    release: str
    origin: str

    @property
    def base(self) -> str:
        """The release without its pocket."""
        return re.sub(r"-(updates|security)\Z", "", self.release)

    def doubts(self, suite: str) -> tuple[bool, ...]:
        """Sort key: the suite's own entries first, then what is surely Debian's archive."""
        path = split_url(self.uri).path
        named = path.endswith(("/debian", "/debian-security"))
        return (self.base != suite, self.origin != "Debian", not named)


def debian_sources(suite: str, options: Sequence[str] = (), lists: Path = LISTS) -> str:
    """Return the text of a sources.list for `suite`, from this host's own Debian sources.

    Where the host has the suite, its own entries serve; else those of another Debian release, with
    the suite swapped. `options` are further arguments for apt, `lists` is where it keeps what it
    fetched. The addresses may hold credentials. Raises `UnavailableError` when apt knows no Debian
    archive.
    """
    if shutil.which("apt-get") is None:
        raise UnavailableError("this host has no apt, so no Debian archive is known")
    known = [
        source
        for source in _sources(options, lists)
        if source.base in {suite, *RELEASES} and source.origin in {"", "Debian"}
    ]
    known.sort(key=lambda source: source.doubts(suite))
    lines = [
        f"deb [signed-by={KEYRING}] {uri} {suite}{pocket} main\n"
        for pocket in POCKETS
        if (uri := _uri_of(known, pocket))
    ]
    if not any(f" {suite} main" in line for line in lines):
        raise UnavailableError(
            f"apt on this host names no Debian archive for {suite}: add one to "
            f"/etc/apt/sources.list.d (Suites: {suite}, Signed-By: {KEYRING})"
        )
    return "".join(lines)


def _uri_of(known: Iterable[_Source], pocket: str) -> str:
    """Return the archive that has a pocket of the release, or ''."""
    fitting = (source for source in known if source.release.removeprefix(source.base) == pocket)
    return next((source.uri for source in fitting), "")


def _sources(options: Sequence[str], lists: Path) -> list[_Source]:
    """Ask apt for its archives: it reads both forms of its settings, and touches nothing here."""
    text = process.capture(["apt-get", *options, "update", "--print-uris"], timeout=60)
    names = {(row["uri"], row["release"]): row["name"] for row in _rows(RELEASE_FILE, text)}
    archives = dict.fromkeys((row["uri"], row["release"]) for row in _rows(PACKAGES, text))
    return [
        _Source(uri=uri, release=release, origin=_origin(lists / names.get((uri, release), "-")))
        for uri, release in archives
        if split_url(uri).scheme in WEB
    ]


def _rows(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    return [match for line in text.splitlines() if (match := pattern.fullmatch(line.rstrip()))]


def _origin(release_file: Path) -> str:
    """Return who says to have made the archive, or '' where its release file was never fetched."""
    if not release_file.is_file():
        return ""
    with release_file.open(encoding="utf-8", errors="replace") as file:
        head = [next(file, "") for _ in range(20)]
    return next(
        (line.partition(": ")[2].strip() for line in head if line.startswith("Origin: ")), ""
    )


def network_conf(settings: IndexSettings, options: Sequence[str] = ()) -> str:
    """Return the apt configuration that reaches the archive from here: proxies, CA, patience.

    The host's own apt settings win over the environment's proxies, as they do for apt itself.
    """
    lines = [
        f'Acquire::{scheme}::Proxy "{_quotable(proxy)}";'
        for scheme in ("http", "https")
        if (proxy := scheme_proxy(scheme, settings.proxies))
    ]
    if settings.ca_bundle:
        lines.append(f'Acquire::https::CAInfo "{_quotable(str(settings.ca_bundle))}";')
    lines += [f'Acquire::{name} "20";' for name in ("http::Timeout", "https::Timeout")]
    dump = process.capture(["apt-config", *options, "dump", "--no-empty"], timeout=60)
    lines += [line for line in dump.splitlines() if NETWORK.fullmatch(line.partition(" ")[0])]
    return "".join(f"{line}\n" for line in lines)


def require_answer(sources: str, conf: str, settings: IndexSettings, patience: Patience) -> None:
    """Raise `UnavailableError` when the archive is silent: apt would wait for it for minutes.

    Any answer will do, an error too: apt tells those at once, and better. `sources` and `conf` are
    the texts that apt gets; the question goes the way apt's would.
    """
    if "Auto-Detect" in conf or "AutoDetect" in conf:
        return
    uri, suite = sources.splitlines()[0].split()[2:4]
    host = split_url(uri).hostname or ""
    proxies = {f"{scheme}_proxy": _told_proxy(conf, scheme, host) for scheme in ("http", "https")}
    address = f"{uri}/dists/{suite}/InRelease"
    silence = silence_of(address, replace(settings, proxies=proxies), patience)
    if silence:
        raise UnavailableError(silence)


def _told_proxy(conf: str, scheme: str, host: str) -> str:
    """Return the proxy that apt takes for a host: its own entry, else the scheme's; '' for none."""
    keys = (f"Acquire::{scheme}::Proxy::{host}", f"Acquire::{scheme}::Proxy")
    rows = [line.rstrip(";").partition(" ") for line in conf.splitlines()]
    told = [value.strip('"') for key in keys for name, _, value in reversed(rows) if name == key]
    return told[0] if told and told[0] != "DIRECT" else ""


def _quotable(value: str) -> str:
    """Refuse what would end a quoted value of apt's configuration."""
    if any(sign in value for sign in '"\n\\'):
        raise UnavailableError("a proxy or CA path holds a quote, which apt cannot be told")
    return value
