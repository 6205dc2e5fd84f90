"""What custom nodes an image has: its snapshot, read, checked and pinned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError, DriftError
from comfykiln.parsing.values import https

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comfykiln.environment import ComfyUISpec as WantedComfyUI
    from comfykiln.environment import Environment, Node
    from comfykiln.plan.origins import ComfyUISpec
    from comfykiln.plan.services import Service


@dataclass(frozen=True, kw_only=True, slots=True)
class NodePin:
    """A node from git: its folder below custom_nodes, its repository, its commit.

    `fallback` is another address of the repository, for when the first has no answer.
    """

    directory: str
    url: str
    commit: str
    disabled: bool = False
    fallback: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchivePin:
    """A node from an archive: its folder below custom_nodes, and what tells which archive.

    A node of the registry has `registry_id` and `version`; another one has `urls`, in the order to
    try them. `sha256` is empty where the document names none: the lock then holds it.
    """

    directory: str
    registry_id: str = ""
    version: str = ""
    urls: tuple[str, ...] = ()
    sha256: str = ""
    disabled: bool = False

    @property
    def title(self) -> str:
        """What people call the archive."""
        return f"{self.registry_id} {self.version}" if self.registry_id else self.urls[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class NodePins:
    """All nodes of an image that come from outside, and the packages its snapshot pins.

    `files` are single files below custom_nodes that must be there: (name, disabled).
    `packages` are exact requirement lines.
    """

    git: tuple[NodePin, ...] = ()
    archives: tuple[ArchivePin, ...] = ()
    files: tuple[tuple[str, bool], ...] = ()
    packages: tuple[str, ...] = ()


def pins_of(service: Service, comfyui: ComfyUISpec | None = None) -> NodePins:
    """Read the service's snapshot; with `comfyui`, also check that it means that release.

    Raises `DocumentError` for what cannot be built, each node named; `DriftError` where the
    snapshot was taken on another ComfyUI than the image has.
    """
    from comfykiln import documents  # noqa: PLC0415  # its parsers, where they are used

    environment = documents.read(service.snapshot).environment
    if comfyui:
        _require_same_comfyui(service, environment.comfyui, comfyui)
    _require_free(service, environment.nodes)
    return from_environment(environment, str(service.snapshot))


def _require_free(service: Service, nodes: Sequence[Node]) -> None:
    """Raise `DocumentError` where a node wants the folder of a pack of this repository."""
    own = {pack.name.casefold(): pack for pack in service.local_nodes}
    taken = [node.name for node in nodes if node.name.casefold() in own]
    if taken:
        raise DocumentError(
            f"{service.snapshot}: {len(taken)} node(s) want the folder of a pack that the image "
            "has anyway",
            faults=[f"{name}: {own[name.casefold()]} has this name" for name in taken],
            remedy="take the node out of the snapshot (of a document: --leave-out), or the pack "
            "out of `local_nodes:` in service.yaml",
        )


def from_environment(environment: Environment, source: str) -> NodePins:
    """Return the pins of any document's environment; `source` names it in messages."""
    faults = list(_faults(environment.nodes))
    if faults:
        raise DocumentError(
            f"{source}: {len(faults)} node(s) cannot be built as they stand",
            faults=faults,
            remedy=_remedy(environment, source),
        )
    return NodePins(
        git=tuple(_pin(node) for node in environment.nodes if node.source == "git"),
        archives=tuple(
            _archive(node) for node in environment.nodes if node.source in {"registry", "archive"}
        ),
        files=tuple(
            (node.name, node.disabled) for node in environment.nodes if node.source == "file"
        ),
        packages=tuple(
            f"{package.name}=={package.version}"
            for package in environment.packages
            if package.source == "index" and package.version and not package.group
        ),
    )


def _remedy(environment: Environment, source: str) -> str:
    """Return what ends the faults: a pin where a name moves, else the person's own hand."""
    by_hand = f"correct these nodes in {source}"
    if all(node.commit or node.source != "git" for node in environment.nodes):
        return by_hand
    from comfykiln.documents.detect import detect  # noqa: PLC0415  # faults only
    from comfykiln.documents.pinnedcopy import advice  # noqa: PLC0415  # the same

    return f"{advice(source, detect(Path(source)))}, or {by_hand}"


def _pin(node: Node) -> NodePin:
    if node.url is None or node.commit is None:  # _faults has refused these
        raise DocumentError(f"{node.name} has no pin", remedy="write its url and commit")
    return NodePin(
        directory=node.name,
        url=https(node.url),
        commit=node.commit,
        disabled=node.disabled,
        fallback=https(node.fallback_url) if node.fallback_url else "",
    )


def _archive(node: Node) -> ArchivePin:
    if node.source == "archive":
        addresses = tuple(filter(None, (node.url, node.fallback_url)))
        return ArchivePin(
            directory=node.name,
            urls=addresses,
            sha256=node.sha256 or "",
            disabled=node.disabled,
        )
    return ArchivePin(
        directory=node.name,
        registry_id=node.registry_id or node.name,
        version=node.version or "",
        disabled=node.disabled,
    )


def _faults(nodes: Sequence[Node]) -> Iterator[str]:
    folders: set[str] = set()
    for node in nodes:
        if node.name.casefold() in folders:
            yield f"{node.name}: two nodes want this folder"
        folders.add(node.name.casefold())
        if fault := _FAULTS.get(node.source, _unknown)(node):
            yield f"{node.name}: {fault}"


def _git_fault(node: Node) -> str:
    if node.commit is None:
        return f"{node.ref or 'its default branch'} moves; pin a commit"
    if not https(node.url or "").startswith("https://"):
        return f"{node.url} is not reached over https"
    if "comfyui-manager" in (node.url or "").lower():
        return "the Manager is a package, and comfy-cli skips this address"
    return ""


def is_exact(version: str | None) -> bool:
    """Say whether a version of the registry is one; `latest` and the like are names that move."""
    return version is not None and version.lower() not in {"latest", "nightly", "unknown"}


def _registry_fault(node: Node) -> str:
    if not is_exact(node.version):
        return f"{node.ref or node.version or 'its version'} moves; write an exact version"
    return "the Manager is a package" if "comfyui-manager" in node.name.lower() else ""


def _archive_fault(node: Node) -> str:
    wrong = next((url for url in (node.url, node.fallback_url) if url and not fetchable(url)), "")
    return f"{wrong} is not over https" if wrong else ""


def fetchable(url: str) -> bool:
    """Say whether an archive may be fetched from there: over https, or from this very machine."""
    return url.startswith(("https://", "http://127.0.0.1:", "http://localhost:"))


def _file_fault(node: Node) -> str:
    ending = "is no Python file (a disabled one is named without `.disabled`)"
    return "" if node.name.endswith(".py") else ending


def _unknown(node: Node) -> str:
    return f"nodes of the kind {node.source} are not built from a snapshot"


_FAULTS = {
    "git": _git_fault,
    "registry": _registry_fault,
    "archive": _archive_fault,
    "file": _file_fault,
}


def _require_same_comfyui(service: Service, wanted: WantedComfyUI, have: ComfyUISpec) -> None:
    same = (
        (wanted.commit is None or wanted.commit == have.commit)
        and (wanted.version is None or wanted.version.lstrip("v") == have.version.lstrip("v"))
        and not (wanted.ref and not have.commit.startswith(wanted.ref))
    )
    if not same:
        raise DriftError(
            f"{service.snapshot} was taken on ComfyUI {wanted.wanted}, "
            f"but service.yaml builds {have.version} ({have.commit})",
            remedy="give both the same release, and lock again",
        )
