"""What `restore.json` says: the plan of the nodes row, written and checked on the host."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class GitNode:
    """One node of the snapshot: its URL, the 40-hex commit it is pinned to, its directory.

    `submodules` maps where one is mounted to its commit; `lacking` are files that no mirror had;
    `install` says whether its install.py runs; `copies` (new file → file of the node) and `folders`
    (below /app) are made for it.
    """

    url: str
    commit: str
    directory: str
    disabled: bool
    submodules: Mapping[str, str]
    lacking: tuple[str, ...]
    install: bool
    copies: Mapping[str, str]
    folders: tuple[str, ...]

    @property
    def parked(self) -> str:
        """The name below `.disabled`."""
        return self.directory

    def checkouts(self) -> dict[str, str]:
        """Return folder below custom_nodes → commit, of the node and its submodules."""
        below = {f"{self.directory}/{mount}": commit for mount, commit in self.submodules.items()}
        return {self.directory: self.commit, **below}


def cloned_from(url: str, directory: str) -> str:
    """Return the address that comfy-cli is told for a repository: it names the folder after it.

    Where the node's folder has another name, that is an address which only the mirrors know.
    """
    if url.rstrip("/").rpartition("/")[2] == directory:
        return url
    return f"https://clones.invalid/{directory}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveNode:
    """One node from an archive: its directory, the archive, what the registry calls it.

    `install`, `copies` and `folders` are as for a node from git.
    """

    directory: str
    registry_id: str
    version: str
    sha256: str
    archive: Path
    disabled: bool
    install: bool
    copies: Mapping[str, str]
    folders: tuple[str, ...]

    @property
    def parked(self) -> str:
        """The name below `.disabled`: the Manager keeps versions of a registry node apart there."""
        return (
            f"{self.directory}@{self.version.replace('.', '_')}" if self.version else self.directory
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FileNode:
    """A node of one file; `own` says that ComfyUI brings it."""

    name: str
    disabled: bool
    own: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirror:
    """A bare repository to be made: its path (host/owner/repo.git), its one branch, its packs."""

    path: str
    commit: str
    packs: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RestorePlan:
    """What `restore.json` says; all paths lie beside it.

    `files` lie in the folder `beside`, ComfyUI's own among them. `accepted` are packages that a
    node may miss; `family` is the torch family, which this row does not see. `told` maps nodes to
    lines that comfy-cli cannot judge by itself, each to the package that meets it, "" for none.
    """

    snapshot: Path
    mirrors: tuple[Mirror, ...]
    git: tuple[GitNode, ...]
    archives: tuple[ArchiveNode, ...]
    files: tuple[FileNode, ...]
    beside: Path
    local: tuple[Path, ...]
    accepted: frozenset[str]
    family: frozenset[str]
    told: Mapping[str, Mapping[str, str]]

    @property
    def folders(self) -> tuple[GitNode | ArchiveNode, ...]:
        """The nodes from outside that are folders."""
        return (*self.git, *self.archives)


def read_plan(path: Path) -> RestorePlan:
    """Parse `restore.json`, written by the host's planning, which has checked every value."""
    raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return RestorePlan(
        snapshot=path.parent / raw["snapshot"],
        mirrors=tuple(_mirror(entry, path.parent / "packs") for entry in raw["mirrors"]),
        git=tuple(_node(entry) for entry in raw["git"]),
        archives=tuple(_archive(entry, path.parent / "archives") for entry in raw["archives"]),
        files=tuple(FileNode(**entry) for entry in raw["files"]),
        beside=path.parent / "files",
        local=tuple(path.parent / "local" / name for name in raw["local"]),
        accepted=frozenset(raw["accepted"]),
        family=frozenset(raw["family"]),
        told=raw["told"],
    )


def _node(raw: dict[str, Any]) -> GitNode:
    tuples = {name: tuple(raw[name]) for name in ("lacking", "folders")}
    return GitNode(**{**raw, **tuples})


def _archive(raw: dict[str, Any], archives: Path) -> ArchiveNode:
    archive = archives / f"{raw['sha256']}.zip"
    return ArchiveNode(**{**raw, "archive": archive, "folders": tuple(raw["folders"])})


def _mirror(raw: dict[str, Any], packs: Path) -> Mirror:
    names = tuple(packs / f"{digest}.pack" for digest in raw["packs"])
    return Mirror(path=raw["path"], commit=raw["commit"], packs=names)
