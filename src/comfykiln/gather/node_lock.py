"""What a lock holds of custom nodes beyond their git commits: `locks/nodes.json` of an image."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DocumentError
from comfykiln.plan import datafiles
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedArchive:
    """An archive by its content, `size` in bytes; `url` is where it was, '' where a folder had it.

    `title` is what it was locked for: the registry's id and version, or the document's address.
    """

    title: str
    sha256: str
    size: int
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedSource:
    """A package that is built from a repository: its name, the commit, what asked for it.

    `ref` is the name that was resolved to `commit`, '' for the default branch.
    """

    name: str
    url: str
    ref: str
    commit: str
    subdirectory: str = ""

    @property
    def address(self) -> str:
        """The address as requirement lines have it."""
        below = f"#subdirectory={self.subdirectory}" if self.subdirectory else ""
        return f"git+{self.url}@{self.commit}{below}"


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeLock:
    """Archives by the node's folder, single files by name (their sha256), packages from git."""

    archives: Mapping[str, LockedArchive] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[LockedSource, ...] = ()

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing to write down."""
        return not (self.archives or self.files or self.sources)


def read_node_lock(path: Path) -> NodeLock:
    """Read the file; an image without one has none of these. Raises `DocumentError` for faults."""
    if not path.is_file():
        return NodeLock()
    remedy = f"run `./kiln lock --image {path.parents[1].name}`"
    try:
        raw: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise DocumentError(f"{path} is not JSON: {error}", remedy=remedy) from error
    faults = datafiles.schema_faults(raw, "nodelock")
    if faults:
        raise DocumentError(f"{path} is no lock of nodes", faults=faults, remedy=remedy)
    return NodeLock(
        archives={name: LockedArchive(**entry) for name, entry in raw["archives"].items()},
        files=raw["files"],
        sources=tuple(LockedSource(**entry) for entry in raw["sources"]),
    )


def write_node_lock(path: Path, lock: NodeLock) -> None:
    """Write the file, or take it away where nothing is left to hold."""
    if lock.empty:
        path.unlink(missing_ok=True)
        return
    files.write_bytes(path, files.canonical_json(asdict(lock)))
