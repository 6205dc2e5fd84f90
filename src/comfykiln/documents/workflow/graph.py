"""The nodes of a workflow's graph, those inside subgraphs and group nodes included."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from comfykiln.parsing.fields import Obj

if TYPE_CHECKING:
    from collections.abc import Iterator

CORE = "comfy-core"
FRONTEND = frozenset({"MarkdownNote", "Note", "PrimitiveNode", "Reroute"})
"""Types that exist in the editor alone: the server never sees them."""
_GROUP_PREFIXES = ("workflow>", "workflow/")


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphNode:
    """A node of the graph: its id, its type, its path, what the editor noted of it, its values.

    A node of a subgraph has the subgraph's id before its own (`…:12`).
    `values` are (index, value) of its widgets, counted from 0, or of its inputs in their order.
    """

    node_id: str
    type: str
    path: str
    properties: Obj
    values: tuple[tuple[int, Any], ...]

    @property
    def is_core(self) -> bool:
        """Whether ComfyUI itself brings the type: said by the editor, else by the shipped list."""
        pack = self.properties.text("cnr_id")
        if pack is None and self.properties.text("aux_id") is None:
            return self.type in core_types()
        return pack == CORE


@functools.cache
def core_types() -> frozenset[str]:
    """Return the node types that ComfyUI itself brings, as `scripts/core_nodes.py` lists them."""
    file = resources.files("comfykiln.documents.workflow") / "core.json"
    return frozenset(json.loads(file.read_text(encoding="utf-8"))["classes"])


def count_nodes(document: Obj) -> int:
    """Return how many nodes a document of either form lists, whatever their shape."""
    owners = [document, *subgraphs(document), *(Obj(group) for _, group, _ in _groups(document))]
    lists = [owner.value.get("nodes") for owner in owners]
    return sum(len(entry) for entry in lists if isinstance(entry, list)) or len(document.value)


def subgraphs(owner: Obj) -> list[Obj]:
    """Return the definitions of subgraphs, those inside other definitions included."""
    found = owner.obj("definitions").objs("subgraphs")
    return [*found, *(inner for entry in found for inner in subgraphs(entry))]


def _groups(document: Obj) -> Obj:
    return document.obj("extra").obj("groupNodes")


def ui_nodes(document: Obj) -> Iterator[GraphNode]:
    """Yield the nodes of a workflow as the editor saves it; instances of subgraphs are left out."""
    inner, groups = subgraphs(document), _groups(document)
    made = {str(entry.value.get("id")) for entry in inner}
    made |= {f"{prefix}{name}" for name, _, _ in groups for prefix in _GROUP_PREFIXES}
    owners = [("", document)]
    owners += [(f"{entry.value.get('id')}:", entry) for entry in inner]
    owners += [(f"{name}:", groups.obj(name)) for name, _, _ in groups]
    for prefix, owner in owners:
        for node in owner.objs("nodes"):
            if node.value["type"] not in made | FRONTEND:
                yield _ui_node(node, prefix)


def _ui_node(node: Obj, prefix: str) -> GraphNode:
    values = node.value.get("widgets_values")
    if isinstance(values, dict):
        values = list(values.values())
    return GraphNode(
        node_id=f"{prefix}{node.value.get('id')}",
        type=node.value["type"],
        path=node.path,
        properties=node.obj("properties"),
        values=tuple(enumerate(values if isinstance(values, list) else ())),
    )


def api_nodes(document: Obj) -> Iterator[GraphNode]:
    """Yield the nodes of a workflow as the server runs it."""
    for name, _, path in document:
        node = document.obj(name)
        yield GraphNode(
            node_id=name,
            type=node.value["class_type"],
            path=path,
            properties=Obj({}, path),
            values=tuple(enumerate(node.obj("inputs").value.values())),
        )
