"""What is told of an image's custom nodes: one entry for each, in the receipt and on the screen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comfykiln.verify.question import classes_of, import_times

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from comfykiln.gather.archives import GatheredArchive
    from comfykiln.gather.git_nodes import GatheredNode
    from comfykiln.gather.nodes import NodeSet
    from comfykiln.verify.question import Answers


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportedNode:
    """A node by its folder or file: its pin in a few letters, and what the receipt says of it."""

    name: str
    pin: str
    disabled: bool
    details: Mapping[str, Any] = field(default_factory=dict)


def reported_nodes(nodes: NodeSet) -> Iterator[ReportedNode]:
    """Yield every node of the image, those of ComfyUI itself left out unless they are disabled."""
    yield from map(_from_git, nodes.git)
    yield from map(_from_archive, nodes.archives)
    for file in nodes.files:
        if not file.own or file.disabled:
            details = {"file": file.name, "sha256": file.sha256, "own": file.own}
            yield ReportedNode(
                name=file.name, pin=file.sha256[:12], disabled=file.disabled, details=details
            )


def found_nodes(nodes: NodeSet, answers: Answers) -> dict[str, Any]:
    """Return what each custom node was found to be; how long it took to import is printed only."""
    classes: Mapping[str, str] = answers.probe["node_classes"]
    imported = import_times(answers.log)
    return {
        node.name: {
            **node.details,
            "disabled": node.disabled,
            "imported": node.name in imported,
            "classes": len(classes_of(node.name, classes)),
        }
        for node in reported_nodes(nodes)
    }


def report(nodes: NodeSet, answers: Answers) -> Iterator[str]:
    """Yield one line for each node: its pin, its import time in seconds, its classes."""
    times = import_times(answers.log)
    classes: Mapping[str, str] = answers.probe["node_classes"]
    for node in reported_nodes(nodes):
        count = len(classes_of(node.name, classes))
        told = "disabled" if node.disabled else f"{times[node.name]:.1f} s, {count} class(es)"
        yield f"{node.name} {node.pin}: {told}"


def _from_git(node: GatheredNode) -> ReportedNode:
    details = {
        "url": node.pin.url,
        "commit": node.pin.commit,
        "submodules": {
            mount: repository.commit for mount, repository in node.repositories.items() if mount
        },
        "lacking": list(node.lacking),
    }
    pin = node.pin
    return ReportedNode(
        name=pin.directory, pin=pin.commit[:12], disabled=pin.disabled, details=details
    )


def _from_archive(archive: GatheredArchive) -> ReportedNode:
    pin = archive.pin
    known = {"registry_id": pin.registry_id, "version": pin.version} if pin.registry_id else {}
    return ReportedNode(
        name=pin.directory,
        pin=pin.version or archive.sha256[:12],
        disabled=pin.disabled,
        details={**known, "url": archive.url, "sha256": archive.sha256},
    )
