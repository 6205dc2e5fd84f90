"""Requirement lines as packages and back: `pip freeze` lines, PEP 508, git, local, editable.

A line that is an option (`--index-url …`, `-r …`) is refused: it would redirect every install.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode

from comfykiln.environment import Extra, Package
from comfykiln.parsing.faults import FaultyDocumentError
from comfykiln.parsing.fields import plain_json
from comfykiln.parsing.reading import decode
from comfykiln.parsing.values import (
    CONTROLS,
    WEB,
    check_ref,
    check_repository,
    check_url,
    is_package_name,
    is_version,
    is_windows_path,
    shown,
)

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from comfykiln.parsing.faults import Faults

MAX_LINE = 2048
MAX_HASHED_LINE = 32_768
"""A line with the hashes of all its files, as `uv pip compile --generate-hashes` writes it."""
MAX_FILE_LINES = 50_000
MAX_REQUIREMENTS = 10_000

_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;,*@\[\]]+)")
_NAMED_URL = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?\s*@\s*(\S+)(?:\s+;\s*(.+))?"
)
_PACKAGE_FILE = re.compile(r"[^\s;@=<>!~\[\]]+\.(whl|tar\.gz|zip)")
"""A file of this folder or one below: pip and uv take a name with such an ending for one."""
_VCS = re.compile(r"(?i)(git|hg|svn|bzr)\+")
_EDITABLE = re.compile(r"(?:-e|--editable)[ =]\s*(.+)")
_COMMENT = re.compile(r"(^|\s)#.*\Z")
_FRAGMENT = {"egg", "subdirectory", "sha256"}
_CONTROL = re.compile(f"(?!\t)[{CONTROLS}]")


def parse_line(text: str, path: str, faults: Faults) -> Package | None:
    """Return the package of one requirement line, None after a fault, a comment or a blank."""
    line = text.strip()
    if not line or line.startswith("#"):
        return None
    if _is_too_long(line) or _CONTROL.search(line):
        _refuse(line, path, faults, "no requirement")
        return None
    if match := _PINNED.fullmatch(line):
        return _parse_pin(match, path, faults)
    if match := _EDITABLE.fullmatch(line):
        return _editable(match[1].strip(), path, faults)
    if line.startswith("-"):
        faults.add(
            path,
            "requirement.option",
            f"{shown(line)} is an option, no requirement",
            expected="name==version",
            remedy="remove it; indexes belong to the configuration",
        )
        return None
    return _other(line, path, faults)


def _is_too_long(line: str) -> bool:
    if len(line) <= MAX_LINE:
        return False
    return len(line) > MAX_HASHED_LINE or len(_without_hashes(line)[0]) > MAX_LINE


def _other(line: str, path: str, faults: Faults) -> Package | None:
    if match := _NAMED_URL.fullmatch(line):
        name, listed, url, marker = match.groups()
        extras = _split(listed)
        if not all(map(is_package_name, extras)) or (marker and not _is_marker(marker)):
            _refuse(line, path, faults, "extras or marker that are none")
            return None
        return from_url(url, path, faults, name=name, extras=extras, marker=marker)
    if _VCS.match(line) or re.match(r"(?i)(https?|file):", line):
        return from_url(line, path, faults)
    is_path = line.startswith(("./", "../", "/", "~")) or _PACKAGE_FILE.fullmatch(line)
    if is_path or is_windows_path(line):
        return Package(name="", source="local", path=line, place=path)
    return _pep508(line, path, faults)


def from_url(  # the parts of one requirement
    text: str,
    path: str,
    faults: Faults,
    *,
    name: str = "",
    version: str | None = None,
    extras: tuple[str, ...] = (),
    marker: str | None = None,
) -> Package | None:
    """Return the package at a URL: `git+https://…@ref#egg=x`, a wheel, `file:`."""
    url, _, fragment = text.strip().partition("#")
    options = dict(parse_qsl(fragment, keep_blank_values=True, separator="&"))
    name = name or options.get("egg", "")
    if name and not is_package_name(name):
        _refuse(name, path, faults, "no package name")
        return None
    package = Package(
        name=name,
        version=version,
        extras=extras,
        marker=marker,
        subdirectory=options.get("subdirectory"),
        sha256=options.get("sha256"),
        unknown=_unknown({key: options[key] for key in options.keys() - _FRAGMENT}),
        place=path,
    )
    if match := _VCS.match(url):
        found = _repository(match[1], url[match.end() :], path, faults)
        return found and replace(package, source="git", url=found[0], ref=found[1])
    if url.lower().startswith("file:"):
        return replace(package, source="local", url=url)
    if not check_url(url, path, faults, WEB):
        return None
    return replace(package, source="url", url=url)


def _is_marker(text: str) -> bool:
    from packaging.markers import InvalidMarker, Marker  # noqa: PLC0415  # rare

    try:
        Marker(text)
    except InvalidMarker:
        return False
    return True


def _unknown(values: dict[str, Any]) -> tuple[Extra, ...]:
    """Keep what has no field: other fragments of a URL, more hashes than one."""
    return tuple(
        Extra(kind="requirement", path=key, json=plain_json(values[key])) for key in sorted(values)
    )


def _repository(vcs: str, text: str, path: str, faults: Faults) -> tuple[str, str | None] | None:
    """Split `https://host/owner/repo@ref`; an `@` before the path is a user name."""
    if vcs.lower() != "git":
        _refuse(f"{vcs}+…", path, faults, "only git repositories are supported")
        return None
    scheme, separator, rest = text.partition("://")
    host, slash, tail = rest.partition("/")
    tail, at, ref = tail.rpartition("@") if "@" in tail else (tail, "", "")
    url = f"{scheme}{separator}{host}{slash}{tail}"
    if not check_repository(url, path, faults):
        return None
    if at and not check_ref(ref, path, faults):
        return None
    return url, ref or None


def _parse_pin(match: re.Match[str], path: str, faults: Faults) -> Package | None:
    name, version = match.groups()
    if is_package_name(name) and is_version(version):
        return Package(name=name, version=version, place=path)
    _refuse(match[0], path, faults, "no name==version")
    return None


def _editable(target: str, path: str, faults: Faults) -> Package | None:
    if _VCS.match(target):
        package = from_url(target, path, faults)
        return package and replace(package, source="editable")
    if target.startswith("-"):
        _refuse(target, path, faults, "reads as an option")
        return None
    folder, _, fragment = target.partition("#")
    name = dict(parse_qsl(fragment)).get("egg", "")
    return Package(name=name, source="editable", path=folder, place=path)


def _pep508(line: str, path: str, faults: Faults) -> Package | None:
    from packaging.requirements import (  # noqa: PLC0415  # 25 ms that most documents never need
        InvalidRequirement,
        Requirement,
    )

    bare, hashes = _without_hashes(line)
    try:
        requirement = Requirement(bare)
    except InvalidRequirement as error:
        _refuse(line, path, faults, str(error).splitlines()[0])
        return None
    return _from_requirement(requirement, path, hashes)


def _from_requirement(requirement: Requirement, path: str, hashes: list[str]) -> Package:
    exact = [entry for entry in requirement.specifier if entry.operator == "=="]
    version = exact[0].version if len(exact) == 1 and len(requirement.specifier) == 1 else None
    if version is not None and version.endswith("*"):
        version = None
    return Package(
        name=requirement.name,
        version=version,
        specifier=(str(requirement.specifier) or None) if version is None else None,
        extras=tuple(sorted(requirement.extras)),
        marker=str(requirement.marker) if requirement.marker else None,
        sha256=hashes[0] if len(hashes) == 1 else None,
        unknown=_unknown({"hashes": hashes} if len(hashes) > 1 else {}),
        place=path,
    )


def _without_hashes(line: str) -> tuple[str, list[str]]:
    """Take `--hash=sha256:…` off the end of a line; they bind the line, they are no option."""
    hashes = re.findall(r"\s--hash=sha256:([0-9a-f]{64})(?=\s|\Z)", line)
    return re.sub(r"\s--hash=sha256:[0-9a-f]{64}(?=\s|\Z)", "", line).strip(), hashes


def _refuse(line: str, path: str, faults: Faults, problem: str) -> None:
    faults.add(
        path,
        "requirement.format",
        f"{shown(line)}: {problem}",
        expected="name==version, or a name with the address it comes from",
        remedy="write it as `pip freeze` does",
    )


def _split(extras: str | None) -> tuple[str, ...]:
    return tuple(sorted(entry.strip() for entry in (extras or "").split(",") if entry.strip()))


def parse_file(data: bytes, name: str, faults: Faults) -> list[Package]:
    """Return the packages of a requirements file; `name` begins the place of each fault."""
    try:
        text = decode(data, name)
    except FaultyDocumentError as error:
        faults.records += [
            replace(record, path=f"{name} {record.path}") for record in error.records
        ]
        return []
    is_long = text.count("\n") > MAX_FILE_LINES
    lines = [] if is_long else logical_lines(text)
    if is_long or len(lines) > MAX_REQUIREMENTS:
        faults.add(
            name,
            "reading.length",
            f"{text.count(chr(10)):,} lines",
            expected=f"at most {MAX_REQUIREMENTS:,} requirements and {MAX_FILE_LINES:,} lines",
            remedy="remove what no build needs",
        )
        return []
    packages = []
    for number, line in lines:
        place = f"{name} line {number}"
        package = parse_line(without_comment(line), place, faults)
        if package:
            packages.append(package)
    return packages


def without_comment(line: str) -> str:
    """Return the line without the comment at its end; a `#` within a word begins none."""
    return _COMMENT.sub("", line)


def logical_lines(text: str) -> list[tuple[int, str]]:
    """Join lines that end in a backslash; return each with the number of its first line."""
    lines: list[tuple[int, list[str]]] = []
    joining = False
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip("\r")
        continues = line.endswith("\\")
        part = line.rstrip("\\").rstrip() if continues else line
        if joining:
            lines[-1][1].append(part.lstrip())
        else:
            lines.append((number, [part]))
        joining = continues
    joined = ((number, " ".join(parts)) for number, parts in lines)
    return [(number, line) for number, line in joined if line.strip()]


def line_of(package: Package) -> str:
    """Return `package` as one requirement line that pip and uv accept."""
    if package.source == "editable":
        egg = f"#egg={package.name}" if package.name else ""
        return f"-e {package.path}{egg}" if package.path else f"-e {address_of(package)}"
    if package.path:
        return package.path
    head = package.name + (f"[{','.join(package.extras)}]" if package.extras else "")
    if package.url:
        line = f"{head} @ {address_of(package)}" if package.name else address_of(package)
    else:
        line = head + (f"=={package.version}" if package.version else package.specifier or "")
    marker = f" ; {package.marker}" if package.marker else ""
    return f"{line}{marker}{''.join(f' --hash=sha256:{entry}' for entry in _hashes(package))}"


def _hashes(package: Package) -> list[str]:
    if package.url:
        return []
    more: list[str] = next(
        (json.loads(entry.json) for entry in package.unknown if entry.path == "hashes"), []
    )
    return [package.sha256] if package.sha256 else more


def address_of(package: Package) -> str:
    """Return the address of a package from a URL, with ref and fragment."""
    repository = package.source in ("git", "editable")
    options = {"egg": package.name} if package.source == "editable" and package.name else {}
    if package.subdirectory:
        options["subdirectory"] = package.subdirectory
    if package.sha256:
        options["sha256"] = package.sha256
    options |= {
        entry.path: json.loads(entry.json) for entry in package.unknown if entry.path != "hashes"
    }
    address = f"git+{package.url}" if repository else package.url or ""
    if package.ref:
        address += f"@{package.ref}"
    return f"{address}#{urlencode(options, safe='/')}" if options else address


def file_name(url: str) -> str:
    """Return the decoded last part of a URL's path: the wheel's or archive's name."""
    return unquote(url.partition("?")[0].rstrip("/").rpartition("/")[2])
