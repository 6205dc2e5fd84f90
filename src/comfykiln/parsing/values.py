"""Rules for the values that leave a document for another program: names, refs, URLs, hashes.

Each check adds at most one fault, with its rule's id, and says whether the value may be used.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from comfykiln.errors import DocumentError
from comfykiln.system import gate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from urllib.parse import SplitResult

    from comfykiln.parsing.faults import Faults

MAX_NAME = 255
MAX_REF = 255
MAX_URL = 2048
WEB = ("https", "http")
"""The schemes of addresses that a web server answers."""
DIGEST_LENGTHS = {"sha256": 64, "blake3": 64, "autov1": 8, "autov2": 10, "autov3": 12, "crc32": 8}
"""Hex digits of the checksums that documents name."""

# ASCII and Latin controls, line separators, marks that reverse or hide what follows.
CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u200b\u202a-\u202e\u2066-\u2069\ufeff"
_CONTROL = re.compile(f"[{CONTROLS}]")
_SEPARATOR = re.compile(r"[/\\]")
_NO_FILE = re.compile(r'[<>:"|?*]|\.\Z')
_WINDOWS_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_REF_BAD = re.compile(rf"[ {CONTROLS}~^:?*\[\\]|\.\.|@\{{|//|/\.|\.lock(/|\Z)|^@\Z")
_SCP = re.compile(r"(?:[A-Za-z0-9_][\w.-]*@)(?P<host>[A-Za-z0-9][\w.-]*):(?P<path>[\w.~][^\s:]*)")
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_SECRET_QUERY = re.compile(
    r"(?i)([?&](?:token|access_token|api_key|apikey|key|password|sig|signature|x-amz-[a-z-]+)=)(?!\$\{\w+\})[^&#\s]+"
)
_GITHUB_PAGES = frozenset(
    {"actions", "archive", "blob", "commit", "commits", "issues", "pull", "raw", "releases", "tree"}
)
_CASELESS_HOSTS = frozenset({"github.com", "gitlab.com", "codeberg.org", "bitbucket.org"})
_PACKAGE_NAME = re.compile(r"(?i)[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
_VERSION = re.compile(r"(?i)v?[0-9][a-z0-9.!+_-]*")
_HOME = re.compile(r"(?i)(^|[/\\:])(home|users)[/\\][^/\\]+|(^|/)root/|(^|/)~[^/]*/")
_WINDOWS_PATH = re.compile(r"(?i)(file:/{2,3})?[a-z]:[\\/]")


def shown(value: object) -> str:
    """Return `value` for a message: quoted, credentials masked, control characters spelt out."""
    text = gate.masked(value if isinstance(value, str) else _as_json(value))
    if len(text) > 100:  # noqa: PLR2004  # one line of a terminal
        text = f"{text[:97]}…"
    return repr(text) if isinstance(value, str) else text


def _as_json(value: object) -> str:
    import json  # noqa: PLC0415  # faulty documents only

    return json.dumps(value, ensure_ascii=False, default=repr)


def has_credentials(url: str) -> bool:
    """Say whether a URL carries a password, a token or a signature (a bare `git@` is none)."""
    if _SECRET_QUERY.search(url):
        return True
    match = _USERINFO.search(url)
    return match is not None and match[0] not in ("git@", "hg@")


def is_home_path(text: str) -> bool:
    """Say whether a path lies in somebody's home folder."""
    return _HOME.search(text) is not None


def is_windows_path(text: str) -> bool:
    """Say whether a path or `file:` URL begins with a drive letter."""
    return _WINDOWS_PATH.match(text) is not None


class AddressError(DocumentError):
    """A text that is no address at all, such as `https://[`: no program could go there.

    `problem` says why without a word of the text, which may hold a password.
    """

    problem = "no address: its host or port cannot be read"

    def __init__(self, text: str) -> None:
        super().__init__(f"{shown(text)}: {self.problem}", remedy="correct the address")


@functools.lru_cache(maxsize=2048)
def split_url(text: str) -> SplitResult:
    """Return the parts of an address, of which host and port can be read.

    The only way to take strangers' addresses apart: the library's own raises `ValueError`, for an
    odd host at once, for an odd port where that is read. Raises `AddressError`.
    """
    try:
        parts = urlsplit(text)
        _ = parts.hostname, parts.port
    except ValueError:
        raise AddressError(text) from None
    return parts


def join_url(base: str, target: str) -> str:
    """Return where `target` leads from `base`; raises `AddressError` where that is nowhere."""
    try:
        joined = urljoin(base, target)
    except ValueError:
        raise AddressError(target) from None
    split_url(joined)
    return joined


def check_name(text: str, path: str, faults: Faults) -> bool:
    """Check a file or folder name: one path component, safe on every system and command line."""
    for rule, bad, problem in (
        ("name.empty", not text.strip(), "an empty name"),
        ("name.nul", "\0" in text, "a NUL character"),
        ("name.newline", bool(_CONTROL.search(text)), "a newline or control character"),
        ("name.separator", bool(_SEPARATOR.search(text)), "a path separator"),
        ("name.reserved", text in (".", "..") or text != text.strip(), "no name of a folder"),
        ("name.reserved", bool(_NO_FILE.search(text)), "no name of a folder on Windows"),
        ("name.reserved", bool(_WINDOWS_DEVICE.fullmatch(text)), "the name of a Windows device"),
        ("name.dash", text.startswith("-"), "a dash at the start, which reads as an option"),
        ("name.length", len(text.encode(errors="replace")) > MAX_NAME, "a name too long"),
    ):
        if bad:
            faults.add(
                path,
                rule,
                f"{shown(text)}: {problem}",
                expected="one folder or file name",
                remedy="use letters, digits, dots, dashes and underscores",
            )
            return False
    return True


def check_ref(text: str, path: str, faults: Faults) -> bool:
    """Check a git ref: branch, tag or commit, by git's own rules, never an option."""
    if text.startswith("-"):
        rule, problem = "ref.dash", "a dash at the start, which git reads as an option"
    elif len(text) > MAX_REF:
        rule, problem = "ref.length", f"{len(text)} characters"
    elif not text or _REF_BAD.search(text) or text.startswith(("/", ".")) or text[-1] in "/.":
        rule, problem = "ref.format", "no git ref"
    else:
        return True
    faults.add(
        path,
        rule,
        f"{shown(text)}: {problem}",
        expected="a branch, a tag or 40 hex digits",
        remedy="write the commit",
    )
    return False


def check_url(text: str, path: str, faults: Faults, schemes: Iterable[str] = ("https",)) -> bool:
    """Check a URL that is fetched: its scheme is among `schemes`, it has a host, nothing odd."""
    rule, problem = url_problem(text, schemes)
    if not rule:
        return True
    faults.add(
        path,
        rule,
        f"{shown(text)}: {problem}",
        expected=" or ".join(f"{scheme}://…" for scheme in schemes),
        remedy="use the https address",
    )
    return False


def url_problem(text: str, schemes: Iterable[str]) -> tuple[str, str]:
    """Return the rule that a URL breaks and what is wrong, or two empty texts."""
    return _text_problem(text) or _parts_problem(text, frozenset(schemes))


def is_scp_address(text: str) -> bool:
    """Say whether `text` is a repository's address in the form `git@host:path`."""
    return len(text) <= MAX_URL and _SCP.fullmatch(text) is not None


def check_repository(
    text: str,
    path: str,
    faults: Faults,
    schemes: Iterable[str] = ("https", "http", "ssh", "git"),
) -> bool:
    """Check a git repository's URL: one of `schemes` or `git@host:path`; none that runs."""
    if is_scp_address(text):
        return True
    if " " in text.strip() and "::" not in text:
        faults.add(path, "url.control", f"{shown(text)}: a space", remedy="write it as %20")
        return False
    if not check_url(text, path, faults, schemes):
        return False
    if problem := _no_repository(text):
        faults.add(
            path,
            "url.format",
            f"{shown(text)}: {problem}",
            expected="the address that git clones",
            remedy="write the address alone, such as https://github.com/owner/repository",
        )
    return not problem


def _no_repository(text: str) -> str:
    """Return why a valid address cannot be a repository's, empty where it can."""
    parts = split_url(text)
    if parts.fragment or parts.query:
        return "what follows # or ? belongs to a page"
    names = [entry for entry in parts.path.split("/") if entry]
    if not names:
        return "it names no repository"
    is_page = parts.hostname == "github.com" and not _GITHUB_PAGES.isdisjoint(names[2:3])
    return "a page of GitHub" if is_page else ""


def _text_problem(text: str) -> tuple[str, str] | None:
    """Return the rule that the mere text breaks and what is wrong."""
    for rule, bad, problem in (
        ("url.length", len(text) > MAX_URL, f"{len(text)} characters"),
        ("url.dash", text.startswith("-"), "a dash at the start, which reads as an option"),
        ("url.control", bool(_CONTROL.search(text)), "control characters"),
        ("url.transport", "::" in text.partition("/")[0], "a transport that runs a program"),
        ("url.control", text != text.strip(), "white space around it"),
    ):
        if bad:
            return rule, problem
    return None


def _parts_problem(text: str, schemes: frozenset[str]) -> tuple[str, str]:
    """Return the rule that a part of the URL breaks and what is wrong, or two empty texts."""
    try:
        parts = split_url(text)
    except AddressError as error:
        return "url.format", error.problem
    host = parts.hostname or ""
    if parts.scheme.lower() not in schemes:
        return "url.transport", f"the scheme {parts.scheme or '(none)'} is not allowed"
    if host.startswith("-") or (parts.username or "").startswith("-"):
        return "url.dash", "a host that reads as an option"
    if not re.fullmatch(r"[A-Za-z0-9_.:-]+", host):
        return "url.format", "no host"
    return "", ""


def check_names_differ(names: Iterable[tuple[str, str]], faults: Faults) -> None:
    """Add a fault for each (name, path) whose name differs from an earlier one by case only."""
    seen: dict[str, str] = {}
    for name, path in names:
        earlier = seen.setdefault(name.casefold(), name)
        if earlier != name:
            faults.add(
                path,
                "name.case",
                f"{shown(name)} and {shown(earlier)} differ by case only",
                expected="names that differ on every file system",
                remedy="keep one of them",
            )


def is_package_name(text: str) -> bool:
    """Say whether `text` is a distribution name by the packaging standards (ASCII only)."""
    return text.isascii() and _PACKAGE_NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Say whether `text` looks like one exact version: no range, no wildcard, no white space."""
    return text.isascii() and _VERSION.fullmatch(text) is not None


def normal_name(name: str) -> str:
    """Return a distribution's name in its normalised form (PEP 503): `Foo_Bar` is `foo-bar`.

    The same as `packaging.utils.canonicalize_name`, whose import costs 20 ms.
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def https_url(url: str) -> str:
    """Return the https address of a repository given by ssh, git or scp-like address."""
    if match := _SCP.fullmatch(url):
        return f"https://{match['host']}/{match['path'].lstrip('/')}"
    parts = split_url(url)
    if parts.scheme in ("ssh", "git"):
        return f"https://{parts.hostname}{parts.path}"
    return url


def https(url: str) -> str:
    """Return a repository's address without its ending, over https, as it is cloned."""
    return https_url(url).removesuffix("/").removesuffix(".git")


def repository_key(url: str) -> str:
    """Return what is equal for two addresses of one repository: `github.com/owner/repo`.

    Scheme, user, port, `.git` and a trailing slash do not count; case does not on the big hosts.
    """
    parts = split_url(https_url(url.strip()))
    host = (parts.hostname or "").removeprefix("www.")
    path = parts.path.strip("/").removesuffix(".git").rstrip("/")
    key = f"{host}/{path}"
    return key.lower() if host in _CASELESS_HOSTS else key


def directory_name(url: str) -> str:
    """Return the folder that a clone of `url` makes: the last part of the path without `.git`."""
    return https_url(url.strip()).rstrip("/").rpartition("/")[2].removesuffix(".git")
