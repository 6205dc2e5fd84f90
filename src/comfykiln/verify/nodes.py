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


def told_nodes(nodes: NodeSet) -> Iterator[ReportedNode]:
    """Yield every node of the image, those of ComfyUI itself left out unless they are disabled."""
    yield from map(_from_git, nodes.git)
    yield from map(_from_archive, nodes.archives)
    for one in nodes.files:
        if not one.own or one.disabled:
            details = {"file": one.name, "sha256": one.sha256, "own": one.own}
            yield ReportedNode(
                name=one.name, pin=one.sha256[:12], disabled=one.disabled, details=details
            )


def found_nodes(nodes: NodeSet, answers: Answers) -> dict[str, Any]:
    """Return what each custom node was found to be; how long it took to import is printed only."""
    classes: Mapping[str, str] = answers.probe["node_classes"]
    imported = import_times(answers.log)
    return {
        one.name: {
            **one.details,
            "disabled": one.disabled,
            "imported": one.name in imported,
            "classes": len(classes_of(one.name, classes)),
        }
        for one in told_nodes(nodes)
    }


def report(nodes: NodeSet, answers: Answers) -> Iterator[str]:
    """Yield one line for each node: its pin, its import time in seconds, its classes."""
    times = import_times(answers.log)
    classes: Mapping[str, str] = answers.probe["node_classes"]
    for one in told_nodes(nodes):
        count = len(classes_of(one.name, classes))
        told = "disabled" if one.disabled else f"{times[one.name]:.1f} s, {count} class(es)"
        yield f"{one.name} {one.pin}: {told}"


def _from_git(node: GatheredNode) -> ReportedNode:
    details = {
        "url": node.pin.url,
        "commit": node.pin.commit,
        "submodules": {mount: one.commit for mount, one in node.repositories.items() if mount},
        "lacking": list(node.lacking),
    }
    pin = node.pin
    return ReportedNode(
        name=pin.directory, pin=pin.commit[:12], disabled=pin.disabled, details=details
    )


def _from_archive(one: GatheredArchive) -> ReportedNode:
    pin = one.pin
    known = {"registry_id": pin.registry_id, "version": pin.version} if pin.registry_id else {}
    return ReportedNode(
        name=pin.directory,
        pin=pin.version or one.sha256[:12],
        disabled=pin.disabled,
        details={**known, "url": one.url, "sha256": one.sha256},
    )
