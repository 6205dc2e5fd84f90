"""All custom nodes of an image, gathered on this machine, and the lock that holds them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from comfykiln.errors import DriftError
from comfykiln.gather.archives import GatheredArchive, obtain_archives
from comfykiln.gather.git_nodes import GatheredNode, obtain_nodes
from comfykiln.gather.node_files import NodeFile, find_files
from comfykiln.gather.node_lock import NodeLock
from comfykiln.gather.pins import NodePins
from comfykiln.gather.sources import GatheredSource, obtain_sources

if TYPE_CHECKING:
    from pathlib import Path

    from comfykiln.network.access import Access
    from comfykiln.plan.services import Service


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSet:
    """The nodes of an image: from git, from archives, single files; and packages from git."""

    pins: NodePins = field(default_factory=NodePins)
    git: tuple[GatheredNode, ...] = ()
    archives: tuple[GatheredArchive, ...] = ()
    files: tuple[NodeFile, ...] = ()
    sources: tuple[GatheredSource, ...] = ()

    @property
    def packs(self) -> tuple[GatheredNode | GatheredArchive, ...]:
        """The nodes that are folders: those that may ask for packages."""
        return (*self.git, *self.archives)

    @property
    def empty(self) -> bool:
        """Tell whether nothing comes from outside ComfyUI."""
        return not self.packs and all(file.own for file in self.files)

    @property
    def lock(self) -> NodeLock:
        """What a lock holds of them."""
        return NodeLock(
            archives={archive.directory: archive.locked for archive in self.archives},
            files={file.name: file.sha256 for file in self.files if not file.own},
            sources=tuple(source.locked for source in self.sources),
        )


def gather_nodes(
    service: Service,
    pins: NodePins,
    access: Access,
    locked: NodeLock | None,
    known: NodeLock | None = None,
) -> NodeSet:
    """Obtain every node of `pins` that comes from outside, and the packages they want from git.

    With `locked` exactly what that names is taken; with None it is learned, but for archives that
    are `known`, and packages from git are left out. Raises `NotPossibleError` with the nodes that
    are not available, `DriftError` where the lock holds something else, `DocumentError` for nodes
    that may not be built as they are.
    """
    git = obtain_nodes(pins.git, service.rule, access)
    archives = obtain_archives(
        pins.archives,
        service.rule,
        access,
        locked=locked.archives if locked else None,
        known=known.archives if known else None,
    )
    sources = obtain_sources(locked.sources if locked else (), access)
    return NodeSet(pins=pins, git=git, archives=archives, sources=sources)


def with_files(nodes: NodeSet, service: Service, comfyui: Path, locked: NodeLock | None) -> NodeSet:
    """Return the nodes with their single files; `comfyui` is the pinned tree.

    Raises `DocumentError` for files that nobody has, `DriftError` where the lock holds others.
    """
    found = find_files(nodes.pins.files, comfyui, service.node_files)
    if locked:
        _require_locked(service, found, locked)
    return replace(nodes, files=found)


def _require_locked(service: Service, found: tuple[NodeFile, ...], locked: NodeLock) -> None:
    wrong = [
        f"{entry.name}: has the sha256 {entry.sha256}, lock: {locked.files.get(entry.name, 'none')}"
        for entry in found
        if not entry.own and locked.files.get(entry.name) != entry.sha256
    ]
    if wrong:
        raise DriftError(
            f"{service.node_files} has drifted from {service.node_lock}:\n  " + "\n  ".join(wrong),
            remedy=f"run `./kiln lock --image {service.name}` and review the difference",
        )
