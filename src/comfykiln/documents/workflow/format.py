"""ComfyUI workflows: the form the editor saves, the form the server runs, images that hold one.

Forms: `ui`, `api`, and each with `-in-png` or `-in-webp`.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from comfykiln.documents.kinds import Kind, Parsed, Written
from comfykiln.documents.workflow import image
from comfykiln.documents.workflow.graph import CORE, api_nodes, count_nodes, ui_nodes
from comfykiln.documents.workflow.models import models
from comfykiln.documents.workflow.packs import Packs
from comfykiln.environment import Environment, Workflow
from comfykiln.errors import DocumentError
from comfykiln.parsing import shape
from comfykiln.parsing.faults import Faults, FaultyDocumentError
from comfykiln.parsing.fields import Obj
from comfykiln.parsing.reading import json_value, load
from comfykiln.parsing.values import is_version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from comfykiln.documents.workflow.graph import GraphNode

SCHEMA = "workflow"
MAX_NODES = 10_000
"""Graphs that people draw stay below a thousand nodes."""


def read(path: Path) -> Parsed:
    """Return the workflow in the file at `path`; of an image, only the metadata is read.

    Raises `FaultyDocumentError` with every fault, `DocumentError` for an image without a workflow.
    """
    found = image.embedded(path)
    if found is None:
        return parse(load(path), str(path))
    return _parsed(found.data, str(path), f"-in-{found.container}")


def parse(data: bytes, source: str) -> Parsed:
    """Return the workflow in `data`, which may be JSON or an image's bytes."""
    found = image.embedded_in(data, source)
    if found is None:
        return _parsed(data, source, "")
    return _parsed(found.data, source, f"-in-{found.container}")


def write(environment: Environment) -> Written:
    """Return the one workflow of `environment`, its bytes as they were."""
    if len(environment.workflows) != 1:
        raise DocumentError(
            f"the environment holds {len(environment.workflows)} workflows, a workflow file one",
            remedy="write an export, which holds any number",
        )
    workflow = environment.workflows[0]
    return Written(kind=Kind.WORKFLOW, filename=f"{workflow.name}.json", data=workflow.data)


def needs(data: bytes, name: str, faults: Faults, *, path: str | None = None) -> Environment:
    """Return what a workflow needs: the packs it names, its models, and the workflow itself.

    Every fault is added to `faults`; `path` is where an export keeps the workflow.
    """
    document, form = _document(data, faults)
    if document is None:
        return Environment()
    nodes = list(ui_nodes(document) if form == "ui" else api_nodes(document))
    custom = [node for node in nodes if not node.is_core]
    packs = Packs(faults)
    by_type: dict[str, str] = {}
    for node in custom:
        if key := packs.add(node):
            by_type.setdefault(node.type, key)
    found = packs.nodes()
    types = sorted({node.type for node in custom})
    unresolved = tuple(name for name in types if name not in by_type)
    _tell(nodes, unresolved, faults)
    workflow = Workflow(
        name=name,
        data=data,
        format="ui" if form == "ui" else "api",
        path=path,
        node_types=tuple(types),
        packs=tuple(sorted({found[key].name for key in by_type.values()})),
        unresolved=unresolved,
        node_map=tuple((entry, found[by_type[entry]].name) for entry in types if entry in by_type),
    )
    return Environment(
        nodes=tuple(found.values()),
        models=models(nodes, document.objs("models") if form == "ui" else (), name, faults),
        workflows=(workflow,),
    )


def _document(data: bytes, faults: Faults) -> tuple[Obj | None, str]:
    """Return the graph and its form, None after a fault of syntax or shape."""
    try:
        value = json_value(data, faults.source, max_items=None)
    except FaultyDocumentError as error:
        faults.records.extend(error.records)
        return None, ""
    document = Obj(value)
    if isinstance(document.value.get("prompt"), dict) and "nodes" not in document:
        # What was sent to the server: the graph is one member of it.
        document = document.obj("prompt")
        value = document.value
    form = "ui" if "nodes" in document or not document.value else "api"
    before = len(faults.records)
    if (count := count_nodes(document)) > MAX_NODES:
        message = f"{count:,} nodes"
        faults.add("$", "workflow.length", message, expected=f"at most {MAX_NODES:,}")
        return None, form
    shape.check(value, SCHEMA, faults, path=document.path, definition=form)
    return (document if len(faults.records) == before else None), form


def _tell(nodes: Sequence[GraphNode], unresolved: tuple[str, ...], faults: Faults) -> None:
    """Tell which types nobody is known to provide, and which ComfyUI saved the workflow."""
    if unresolved:
        message = f"no known pack provides: {', '.join(unresolved)}"
        faults.note("$", "workflow.unresolved", message)
    core = [node.properties for node in nodes if node.properties.text("cnr_id") == CORE]
    versions = {version for entry in core if is_version(version := entry.text("ver") or "")}
    if versions:
        newest = max(versions, key=_sortable)
        message = f"its newest core node was saved by ComfyUI {newest}"
        faults.note("$", "workflow.comfyui", message)


def _sortable(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version))


def _parsed(data: bytes, source: str, container: str) -> Parsed:
    faults = Faults(source)
    name = PurePath(source).name.rpartition(".")[0] or PurePath(source).name
    environment = needs(data, name, faults)
    faults.stop()
    return Parsed(
        kind=Kind.WORKFLOW,
        source=source,
        environment=environment,
        form=f"{environment.workflows[0].format}{container}",
        notes=tuple(faults.notes),
    )
