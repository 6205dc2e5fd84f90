"""The records of services/comfy/<image>/service.yaml: what is inside an image."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DocumentError
from comfykiln.plan.datafiles import load_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Override:
    """A requirement line that replaces all others of its package, and why."""

    requirement: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeRule:
    """What is special about one node.

    `install` is "run" or "skip" where the node has an install.py; `may_lack` maps the paths that a
    mirror may be without to the reason why the node does without. `copies` (new file → file of the
    node) and `folders` (below /app) are what the node would make at its first import, which an
    image with a read-only root cannot let it.
    """

    install: str | None = None
    frontend_only: bool = False
    lfs_pointers: bool = False
    may_lack: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One image's content: the ComfyUI release, its base, its snapshot and local node packs.

    `document` is the kind of document that the service was generated from, "" for one of the
    repository; its packages are then preferred, not demanded. `python_patch` is the exact Python
    that it names, which the finished image must have. `environment` are variables of the
    running server.
    """

    name: str
    folder: Path
    title: str
    comfyui: str
    suite: str
    python: str
    apt: tuple[str, ...]
    snapshot: Path
    startup: Path
    local_nodes: tuple[Path, ...]
    requirements: tuple[str, ...]
    sdists: tuple[str, ...] = ()
    gigabytes: float = 0.0
    overrides: tuple[Override, ...] = ()
    drop: Mapping[str, str] = field(default_factory=dict)
    accepted: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, NodeRule] = field(default_factory=dict)
    document: str = ""
    python_patch: str = ""
    constraints: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def rule(self, node: str) -> NodeRule:
        """Return what is special about the node in the folder `node`."""
        return self.nodes.get(node, NodeRule())

    @property
    def package_lock(self) -> Path:
        """The lock of all packages that are equal on every target."""
        return self.folder / "locks" / "packages.txt"

    @property
    def node_lock(self) -> Path:
        """The lock of what nodes bring beyond git commits: archives, files, packages from git."""
        return self.folder / "locks" / "nodes.json"

    @property
    def node_files(self) -> Path:
        """The folder beside the snapshot that holds nodes of a single file."""
        return self.snapshot.parent / "custom_nodes"

    def torch_lock(self, name: str) -> Path:
        """Return the lock of the torch build `name` (a local tag such as `cu130`)."""
        return self.folder / "locks" / f"torch-{name}.txt"


def service_names(root: Path) -> list[str]:
    """Return the images that the repository at `root` describes."""
    return sorted(path.parent.name for path in root.glob("services/comfy/*/service.yaml"))


def generated_folder(root: Path, name: str) -> Path:
    """Return where the service of an image lies that was built from a document."""
    return root / ".kiln" / "from" / name


def load_service(root: Path, name: str) -> Service:
    """Read the service of the image `name`; raises `DocumentError` with every fault."""
    known = service_names(root)
    folder = root / "services" / "comfy" / name
    if name not in known:
        folder = generated_folder(root, name)
        if not re.fullmatch(r"[a-z0-9-]+", name) or not (folder / "service.yaml").is_file():
            remedy = f"use one of: {', '.join(known)}; or name a document with --from"
            raise DocumentError(f"there is no image {name!r}", remedy=remedy)
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise DocumentError(
            f"{folder}: {name!r} cannot be the name of an image",
            remedy="name the folder with lower-case letters, digits and single dashes",
        )
    raw = load_yaml(folder / "service.yaml", "service")
    service = Service(
        name=name,
        folder=folder,
        title=raw["title"],
        comfyui=raw["comfyui"],
        suite=raw["suite"],
        python=raw["python"],
        apt=tuple(raw["apt"]),
        snapshot=folder / raw["snapshot"],
        startup=root / raw["startup"],
        local_nodes=tuple(root / path for path in raw["local_nodes"]),
        requirements=tuple(raw["requirements"]),
        sdists=tuple(raw.get("sdists", [])),
        gigabytes=raw.get("gigabytes", 0.0),
        overrides=tuple(Override(**entry) for entry in raw.get("overrides", [])),
        drop=raw.get("drop", {}),
        accepted=raw.get("accepted", {}),
        nodes={node: _rule(entry) for node, entry in raw.get("nodes", {}).items()},
        document=raw.get("document", ""),
        python_patch=raw.get("python_patch", ""),
        constraints=tuple(raw.get("constraints", [])),
        environment=raw.get("environment", {}),
    )
    _require_files(service)
    return service


def _rule(entry: Mapping[str, Any]) -> NodeRule:
    return NodeRule(**{**entry, "folders": tuple(entry.get("folders", []))})


def _require_files(service: Service) -> None:
    wanted = [
        service.snapshot,
        service.startup,
        *(pack / "pyproject.toml" for pack in service.local_nodes),
    ]
    missing = [f"{path} does not exist" for path in wanted if not path.is_file()]
    if missing:
        raise DocumentError(
            f"{service.folder / 'service.yaml'} names files that are not there",
            faults=missing,
            remedy="restore the files, or take their lines out of service.yaml",
        )
