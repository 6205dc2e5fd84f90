"""Lets uv write the `uv.lock` of an export, and keeps this machine's settings out of it."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from comfykiln.documents.export.write import project_tables, project_text
from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.export.environment import PREFIX, environment_of
from comfykiln.parsing.values import normal_name, split_url
from comfykiln.system import files
from comfykiln.system.process import ProgramError, capture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfykiln.export.records import ExportInput

NEUTRAL: Final = "https://package-index.invalid"
TIMEOUT: Final = 300.0
_FORMAT: Final = 1

# The settings of uv that say where packages come from; every other one would bend the solve.
_ORIGIN_SETTINGS: Final = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|INDEX_STRATEGY"
    r"|INDEX_\w+_(USERNAME|PASSWORD)|KEYRING_PROVIDER|CREDENTIALS_DIR|CONFIG_FILE|NO_CONFIG|OFFLINE"
    r"|NATIVE_TLS|SYSTEM_CERTS|SSL_CERT_\w+|INSECURE_HOST|HTTP_\w+|REQUEST_TIMEOUT|CACHE_DIR)"
)
_UNREACHABLE: Final = (
    "Failed to fetch",
    "error sending request",
    "Network connectivity is disabled",
)
_REGISTRY: Final = re.compile(r'(?<=\{ registry = ")[^"]*(?=" \})')
_FILE: Final = re.compile(r'\{ (?:url|path) = "([^"]*)"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """A `uv.lock`.

    `extra` are the pins of packages in the image that no requirement leads to, `uv` is the version
    that solved, `hidden` counts the package indexes whose addresses were taken out.
    """

    text: str
    extra: tuple[str, ...]
    uv: str
    hidden: int

    @property
    def packages(self) -> int:
        """How many packages the lock names."""
        return len(versions(self.text))


def make(what: ExportInput, *, cache: Path | None, env: Mapping[str, str]) -> Lock:
    """Return the lock for `what`, solved by uv or kept in `cache` from an earlier call.

    The first solve is bounded by every version in the image; the second has only the torch family
    as constraints and starts from the first one's answer. So the lock holds the image's versions,
    and `pyproject.toml` stays open to an importer that swaps torch.
    Packages of the image that no requirement leads to join as the group `image`.
    Raises `NotPossibleError` where the indexes cannot be reached, `KilnError` where they hold no
    solution or the solution is not the image's.
    """
    uv = _version()
    key = files.sha256(files.canonical_json([_FORMAT, uv, _solved_by(what)]))
    kept = cache / f"{key}.json" if cache else None
    if kept and kept.is_file():
        return _read(kept)
    lock = _solve(what, uv, env)
    if kept:
        files.write_bytes(kept, files.canonical_json(asdict(lock)))
    return lock


def _solved_by(what: ExportInput) -> list[Any]:
    """Return the tables that decide what uv writes into `uv.lock`."""
    tables = project_tables(environment_of(what, bounds=_bounds(what)), PREFIX)
    return [tables["project"], tables.get("dependency-groups"), tables["tool"]["uv"]]


def _read(kept: Path) -> Lock:
    try:
        record = json.loads(kept.read_bytes())
        return Lock(**{**record, "extra": tuple(record["extra"])})
    except (ValueError, TypeError, KeyError) as error:
        raise KilnError(
            f"{kept}: the kept lock is damaged", remedy="delete this file; it is made again"
        ) from error


def versions(text: str) -> dict[str, set[str]]:
    """Return the versions that a `uv.lock` names for each package, the project itself left out."""
    import tomllib  # noqa: PLC0415  # keeps `invoke --list` fast

    found: dict[str, set[str]] = {}
    for package in tomllib.loads(text).get("package", []):
        if "virtual" not in package["source"]:
            found.setdefault(package["name"], set()).add(package["version"])
    return found


def _solve(what: ExportInput, uv: str, env: Mapping[str, str]) -> Lock:
    with tempfile.TemporaryDirectory(prefix="comfykiln-lock-") as name:
        folder = Path(name)
        bounded = project_text(environment_of(what, bounds=_bounds(what)), PREFIX)
        first = versions(_uv_lock(folder, bounded, env))
        extra = tuple(sorted(pin for pin in _all_pins(what) if _name(pin) not in first))
        text = _uv_lock(folder, project_text(environment_of(what, extra=extra), PREFIX), env)
        _run(folder, ["lock", "--check", "--offline"], env)
    _agrees(text, _all_pins(what))
    neutral, hidden = _neutralise(text, {_default_index(), what.pinned_index})
    return Lock(text=neutral, extra=extra, uv=uv, hidden=hidden)


def _all_pins(what: ExportInput) -> list[str]:
    """Return the pins of every package in the image, those of the torch family as it has them."""
    return sorted([*_bounds(what), *(f"{name}=={version}" for name, version in what.torch.items())])


def _bounds(what: ExportInput) -> list[str]:
    """Return the pins of every package in the image outside the torch family."""
    family = {_name(name) for name in what.torch}
    return sorted(pin for pin in what.locked if _name(pin) not in family)


def _uv_lock(folder: Path, project: str, env: Mapping[str, str]) -> str:
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")
    _run(folder, ["lock"], env)
    return (folder / "uv.lock").read_text(encoding="utf-8")


def _run(folder: Path, command: Sequence[str], env: Mapping[str, str]) -> None:
    """Run uv on the project in `folder`, with this machine's origins and no other setting."""
    options = ["--directory", str(folder), "--python", sys.executable, "--no-python-downloads"]
    try:
        capture(
            [_uv(), *command, *options, "--no-progress", "--color", "never"],
            env=_environment(env),
            timeout=TIMEOUT,
        )
    except ProgramError as error:
        raise _explained(error) from error


def _explained(error: ProgramError) -> KilnError:
    message = f"uv.lock cannot be made: {error.message}"
    if any(sign in error.output for sign in _UNREACHABLE):
        return NotPossibleError(
            message, remedy="restore the way to the package index, or build with --no-export"
        )
    return KilnError(
        message,
        remedy="the requirements and the versions in the image do not fit together: lock again",
    )


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    machine = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("UV_", "GIT_")) or _ORIGIN_SETTINGS.fullmatch(name)
    }
    return {**machine, **env}


def _uv() -> str:
    from uv import find_uv_bin  # noqa: PLC0415  # only an export needs it

    return find_uv_bin()


def _version() -> str:
    return capture([_uv(), "--version"], timeout=10).split()[1]


def _default_index() -> str:
    """Return the package index that uv uses when nobody has said otherwise; uv is asked."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    text = capture(
        [_uv(), "pip", "compile", "-", "--emit-index-url", "--no-header", "-q", "--no-config"],
        stdin="",
        env=bare,
        timeout=30,
    )
    found = re.search(r"^--index-url (\S+)$", text, re.MULTILINE)
    if not found:
        raise KilnError(
            f"uv does not tell its default package index: {text!r}",
            remedy="report this with the output of `uv --version`",
        )
    return found[1]


def _neutralise(text: str, public: set[str | None]) -> tuple[str, int]:
    """Take the addresses of all indexes that are not `public` out of a lock.

    Names, versions, hashes and sizes stay. uv re-solves a lock whose index it does not know,
    preferring the versions in it, so the lock still binds whoever gets it.
    Returns the text and the number of indexes taken out.
    """
    known = {address.rstrip("/") for address in public if address}
    hidden = {address for address in _REGISTRY.findall(text) if address.rstrip("/") not in known}
    packages = re.split(r"(?m)^(?=\[\[package\]\]$)", text)
    return "".join(_neutral_package(package, hidden) for package in packages), len(hidden)


def _neutral_package(text: str, hidden: set[str]) -> str:
    source = _REGISTRY.search(text)
    if source and source[0] in hidden:
        text = _FILE.sub(_neutral_file, text)
    return _REGISTRY.sub(lambda at: f"{NEUTRAL}/simple" if at[0] in hidden else at[0], text)


def _neutral_file(match: re.Match[str]) -> str:
    name = split_url(match[1]).path.rsplit("/", 1)[-1]
    return f'{{ url = "{NEUTRAL}/files/{name}"'


def _agrees(text: str, pins: Sequence[str]) -> None:
    """Raise `KilnError` unless the lock holds the version of every pin."""
    from packaging.version import Version  # noqa: PLC0415  # keeps `invoke --list` fast

    found = versions(text)
    wrong = []
    for pin in pins:
        in_lock = found.get(_name(pin), set())
        if Version(pin.split("==", 1)[1]) not in {Version(version) for version in in_lock}:
            wrong.append(f"{pin} in the image, {', '.join(sorted(in_lock)) or 'none'} in the lock")
    if wrong:
        raise KilnError(
            "uv.lock does not describe the image:\n  " + "\n  ".join(wrong),
            remedy="make the image's lock again; it does not fit the requirements",
        )


def _name(pin: str) -> str:
    return normal_name(pin.split("==", 1)[0].strip())
