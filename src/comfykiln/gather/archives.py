"""Custom nodes that come as archives: from the node registry, an address, or a folder on disk.

An archive's identity is the sha256 of its bytes, held by the lock. The registry tells none, so the
first lock takes what it gets, and every build after that takes those bytes and no others.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from comfykiln.errors import DocumentError, DriftError, NotPossibleError
from comfykiln.gather.git_nodes import AT_A_TIME
from comfykiln.gather.node_lock import LockedArchive
from comfykiln.git.repository import LFS_POINTER
from comfykiln.network.client import UnavailableError
from comfykiln.network.http import chunks, page
from comfykiln.origins.attempts import Attempt, first_available
from comfykiln.parsing.tarballs import Limits, read_members
from comfykiln.parsing.values import AddressError, split_url
from comfykiln.parsing.zips import read_zip
from comfykiln.system import console, files
from comfykiln.system.gate import bare_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from comfykiln.gather.pins import ArchivePin
    from comfykiln.network.access import Access
    from comfykiln.plan.services import NodeRule

MAX_ARCHIVE = 1 << 30
GZIP = b"\x1f\x8b"
LARGE = Limits(compressed=MAX_ARCHIVE, member=MAX_ARCHIVE, total=2 * MAX_ARCHIVE)
LOOPBACK = ("127.0.0.1", "localhost")
# What the registry says of versions that it has withdrawn or doubts.
DOUBTED = ("Banned", "Flagged", "Deleted")


@dataclass(frozen=True, kw_only=True, slots=True)
class GatheredArchive:
    """A node's archive on this machine, and what a build must know of it.

    `requirements` and `pyproject` are the texts of these files at the top, None where there are
    none; `url` is where the bytes are available again, '' where a folder had them.
    """

    pin: ArchivePin
    path: Path
    sha256: str
    size: int
    url: str
    requirements: str | None
    pyproject: str | None
    install_script: bool
    lfs: tuple[str, ...]

    @property
    def directory(self) -> str:
        """The node's folder below custom_nodes."""
        return self.pin.directory

    @property
    def locked(self) -> LockedArchive:
        """What the lock holds of it."""
        return LockedArchive(title=self.pin.title, sha256=self.sha256, size=self.size, url=self.url)


def obtain_archives(
    pins: Sequence[ArchivePin],
    rules: Callable[[str], NodeRule],
    access: Access,
    *,
    locked: Mapping[str, LockedArchive] | None,
    known: Mapping[str, LockedArchive] | None = None,
) -> tuple[GatheredArchive, ...]:
    """Return the archive of every pin, in the order of `pins`.

    With `locked` (node folder → archive) only the bytes that it names are taken, and a pin that it
    does not hold is a `DriftError`; with None the bytes are learned, but for those `known`.
    The mirror holds registry archives as `<host of the registry>/<id>/<version>.zip`. Raises
    `NotPossibleError` that names all that no origin yields, `DocumentError` for archives that may
    not be built as they are.
    """
    if not pins:
        return ()
    held = {pin.directory: _held(pin, locked, known or {}) for pin in pins}
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        results = list(pool.map(lambda pin: _tried(access, pin, held), pins))
    missing = [result for result in results if isinstance(result, str)]
    if missing:
        raise NotPossibleError(
            f"{len(missing)} of {len(pins)} node archive(s) cannot be fetched:\n  "
            + "\n  ".join(missing),
            remedy="name a folder that has them (--git-mirror DIR, laid out "
            f"{split_url(access.registry).hostname}/ID/VERSION.zip), or a proxy that reaches the "
            "host (https_proxy, --ca-bundle), or build the image that has none (--image core)",
        )
    found = tuple(result for result in results if isinstance(result, GatheredArchive))
    _refuse_unruled(found, rules)
    return found


def _held(
    pin: ArchivePin,
    locked: Mapping[str, LockedArchive] | None,
    known: Mapping[str, LockedArchive],
) -> LockedArchive | None:
    """Return what the lock, or else the document itself, says of the archive's bytes."""
    if locked is None:
        learned = known.get(pin.directory)
        return learned if learned and learned.title == pin.title else None
    entry = locked.get(pin.directory)
    if entry is None or entry.title != pin.title:
        have = f"holds {entry.title}" if entry else "does not hold it"
        raise DriftError(
            f"{pin.directory}: the snapshot pins {pin.title}, the lock {have}",
            remedy="run `./kiln lock` for the image and review the difference",
        )
    return entry


def _tried(
    access: Access, pin: ArchivePin, held: Mapping[str, LockedArchive | None]
) -> GatheredArchive | str:
    try:
        return _obtained(access, pin, held[pin.directory])
    except NotPossibleError as error:
        return f"{pin.directory}: {error.message}"


def _obtained(access: Access, pin: ArchivePin, held: LockedArchive | None) -> GatheredArchive:
    sha256 = held.sha256 if held else pin.sha256
    if sha256 and access.store.has(sha256):
        path = access.store.path(sha256)
        return _read(pin, path, held.url if held else (pin.urls or ("",))[0])
    name = f"archive-{files.sha256(pin.title.encode())[:16]}"
    with access.store.lock(name), access.store.scratch(name) as work:
        attempts = list(_attempts(access, pin, held, work / "node.zip"))
        (path, url), _ = first_available(pin.directory, attempts, strict=access.strict)
        found = files.sha256_file(path)
        kept = access.store.put(_pieces(path), sha256 or found, source=pin.title)
    return _read(pin, kept, url or (held.url if held else ""))


def _attempts(
    access: Access, pin: ArchivePin, held: LockedArchive | None, target: Path
) -> Iterator[Attempt[tuple[Path, str]]]:
    if access.mirror and pin.registry_id:
        host = split_url(access.registry).hostname or ""
        path = access.mirror / host / pin.registry_id / f"{pin.version}.zip"
        detail = f"archive of {pin.title}"
        get = partial(_from_folder, path)
        yield Attempt(origin="git-mirror", detail=detail, fallback=True, get=get)
    addresses = [held.url] if held and held.url else list(pin.urls)
    for address in addresses:
        get = partial(_downloaded, access, address, target)
        yield Attempt(origin="archive", detail=bare_address(address), fallback=False, get=get)
    if pin.registry_id:
        ask = partial(_from_registry, access, pin, target)
        detail = f"{access.registry} {pin.title}"
        yield Attempt(origin="node-registry", detail=detail, fallback=False, get=ask)


def _from_folder(path: Path) -> tuple[Path, str]:
    if not path.is_file():
        raise UnavailableError(f"there is no {path}")
    return path, ""


def _from_registry(access: Access, pin: ArchivePin, target: Path) -> tuple[Path, str]:
    """Ask the registry where the version lies, and fetch it."""
    registry = access.registry
    address = f"{registry}/nodes/{quote(pin.registry_id)}/install?version={quote(pin.version)}"
    said = _answer(page(address, access.settings, patience=access.patience).body, pin, registry)
    status = str(said.get("status", ""))
    if any(word in status for word in DOUBTED):
        console.warn(f"{pin.directory}: the registry marks {pin.title} as {status}")
    return _downloaded(access, str(said["downloadUrl"]), target)


def _answer(body: bytes, pin: ArchivePin, registry: str) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads(body)
        address, version = str(said["downloadUrl"]), str(said["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise UnavailableError(f"{registry}: gives no archive for {pin.title}") from error
    if version != pin.version:
        raise UnavailableError(f"{registry}: gives version {version} for {pin.title}")
    own = split_url(registry)
    try:
        parts = split_url(address)
    except AddressError as error:
        raise UnavailableError(f"{registry}: {error.message}") from error
    local = parts.hostname in LOOPBACK and own.hostname in LOOPBACK
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise UnavailableError(f"{bare_address(address)}: is not reached over https")
    return said


def _downloaded(access: Access, address: str, target: Path) -> tuple[Path, str]:
    with files.replacing(target) as file:
        for chunk in chunks(
            address, access.settings, size=MAX_ARCHIVE, exact=False, patience=access.patience
        ):
            file.write(chunk)
    return target, bare_address(address)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(files.CHUNK):
            yield chunk


def members_of(pin: ArchivePin, path: Path) -> dict[str, bytes]:
    """Return the node's files, name to bytes, in the archive's order.

    A registry archive is a zip of the node's folder. Any other may be a gzip-compressed tar too,
    and may hold the folder itself as its one top entry. Raises `DocumentError` for what is unsafe.
    """
    title = f"the archive of {pin.title}"
    with path.open("rb") as file:
        gzipped = file.read(2) == GZIP
    if pin.registry_id:
        return read_zip(path, title)
    members = read_members(path, LARGE) if gzipped else read_zip(path, title)
    tops = {name.partition("/")[0] for name in members if "/" in name}
    if len(tops) != 1 or any("/" not in name for name in members):
        return members
    return {name.partition("/")[2]: data for name, data in members.items()}


def _read(pin: ArchivePin, path: Path, url: str) -> GatheredArchive:
    title = f"the archive of {pin.title}"
    members = members_of(pin, path)
    found = GatheredArchive(
        pin=pin,
        path=path,
        sha256=path.name,
        size=path.stat().st_size,
        url=url,
        requirements=_text(members, "requirements.txt", title),
        pyproject=_text(members, "pyproject.toml", title),
        install_script="install.py" in members,
        lfs=tuple(sorted(n for n, data in members.items() if data.startswith(LFS_POINTER))),
    )
    if pin.registry_id:
        _require_version(found)
    return found


def _text(members: Mapping[str, bytes], name: str, title: str) -> str | None:
    if name not in members:
        return None
    try:
        return members[name].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(
            f"{title}: {name} is no UTF-8", remedy="pin a version that fixes it"
        ) from error


def _require_version(found: GatheredArchive) -> None:
    """Refuse an archive that calls itself another node or version than the snapshot does."""
    import tomllib  # noqa: PLC0415  # with its one use

    from packaging.version import InvalidVersion, Version  # noqa: PLC0415  # slow start

    try:
        project = tomllib.loads(found.pyproject or "").get("project", {})
        name, version = str(project["name"]), str(project["version"])
        same = Version(version) == Version(found.pin.version)
    except (tomllib.TOMLDecodeError, KeyError, InvalidVersion, AttributeError) as error:
        raise DocumentError(
            f"{found.directory}: the archive's pyproject.toml names no node and version: {error!r}",
            remedy="pin another version, or the node's repository and commit",
        ) from error
    if not same or name.strip().lower() != found.pin.registry_id.lower():
        raise DocumentError(
            f"{found.directory}: the archive of {found.pin.title} calls itself {name} {version}",
            remedy="pin another version, or the node's repository and commit",
        )


def _refuse_unruled(found: Sequence[GatheredArchive], rules: Callable[[str], NodeRule]) -> None:
    faults = []
    for entry in found:
        rule = rules(entry.directory)
        if entry.install_script and rule.install is None:
            faults.append(
                f"{entry.directory}: has an install.py; say `install: run` or `install: skip`"
            )
        if entry.lfs and not rule.lfs_pointers:
            faults.append(
                f"{entry.directory}: {len(entry.lfs)} file(s) are Git LFS pointers "
                f"({entry.lfs[0]}), which the archive does not hold; say `lfs_pointers: true` "
                "to keep them as they are"
            )
    if faults:
        raise DocumentError(
            f"{len(faults)} custom node(s) may not be built as they are",
            faults=faults,
            remedy="write the rule below `nodes:` of the image's service.yaml "
            "(with --from: in a file for --rules, or say --post-install run or skip)",
        )
