"""The models that a workflow's nodes name with an address."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from comfykiln.documents.modelpaths import model_at, model_path
from comfykiln.environment import Digest, Model, ModelSource, ModelUse, WidgetUse
from comfykiln.parsing.schemes import check_model_url
from comfykiln.parsing.values import DIGEST_LENGTHS, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from comfykiln.documents.workflow.graph import GraphNode
    from comfykiln.parsing.faults import Faults
    from comfykiln.parsing.fields import Obj

_FILE = re.compile(r"[^\n\r\t]{1,300}\.(safetensors|sft|ckpt|pt|pth|bin|gguf|onnx)")


def models(
    nodes: Sequence[GraphNode], listed: Iterable[Obj], workflow: str, faults: Faults
) -> tuple[Model, ...]:
    """Return the models of `properties.models` and the graph's own list, one per file.

    Each has the widgets that name it.
    """
    found: dict[str, Model] = {}
    unsourced: dict[str, str] = {}
    entries = [(entry, node) for node in nodes for entry in node.properties.objs("models")]
    for entry, owner in (*entries, *((entry, None) for entry in listed)):
        model = _model(entry, owner, workflow, faults)
        if model is not None:
            key = model.paths[0] if model.paths else model.filename
            found[key] = _joined(found[key], model, faults) if key in found else model
    for node in nodes:
        for value in _texts(node):
            if _FILE.fullmatch(value):
                unsourced.setdefault(value.replace("\\", "/").rpartition("/")[2], node.path)
    names = {model.filename for model in found.values()}
    if missing := {name: path for name, path in unsourced.items() if name not in names}:
        message = f"named without an address to fetch it from: {', '.join(sorted(missing))}"
        faults.note(next(iter(missing.values())), "workflow.unsourced-model", message)
    return tuple(found.values())


def _texts(node: GraphNode) -> Iterator[str]:
    """Yield the texts among a node's values, and in values that are maps (lists of LoRAs)."""
    for _, value in node.values:
        for entry in value.values() if isinstance(value, dict) else (value,):
            if isinstance(entry, str):
                yield entry


def _model(entry: Obj, node: GraphNode | None, workflow: str, faults: Faults) -> Model | None:
    name, folder = str(entry.value["name"]), entry.text("directory")
    path = model_path(f"{folder}/{name}" if folder else name, f"{entry.path}.name", faults)
    url = entry.text("url")
    if url and not check_model_url(url, f"{entry.path}.url", faults):
        return None
    if path is None:
        return None
    use = ModelUse(workflow=workflow, widgets=_widgets(node, name) if node else ())
    model = model_at(
        path,
        digests=_digests(entry, faults),
        sources=(ModelSource(url=url),) if url else (),
        uses=(use,),
        place=entry.path,
    )
    # Without a directory only the name is known: no path can be told from it.
    return model if folder else replace(model, paths=(), category=None)


def _widgets(node: GraphNode, name: str) -> tuple[WidgetUse, ...]:
    return tuple(
        WidgetUse(node_id=node.node_id, node_type=node.type, index=index, value=value)
        for index, value in node.values
        if isinstance(value, str) and value.replace("\\", "/").rpartition("/")[2] == name
    )


def _digests(entry: Obj, faults: Faults) -> tuple[Digest, ...]:
    value, kind = entry.text("hash"), (entry.text("hash_type") or "sha256").lower()
    if value is None:
        return ()
    digits = value.lower().removeprefix(f"{kind}:")
    if re.fullmatch(r"[0-9a-f]+", digits) and len(digits) == DIGEST_LENGTHS.get(kind, len(digits)):
        return (Digest(algorithm=kind, value=digits),)
    faults.add(
        f"{entry.path}.hash",
        "workflow.hash",
        f"{shown(value)} is no {kind}",
        expected=f"{DIGEST_LENGTHS.get(kind, 'only')} hex digits",
        remedy="correct it, or remove it: the file is then taken as it comes",
    )
    return ()


def _joined(first: Model, second: Model, faults: Faults) -> Model:
    """Return one model for two nodes that name it; two digests of one kind must agree."""
    known = {digest.algorithm: digest.value for digest in first.digests}
    for digest in second.digests:
        if known.setdefault(digest.algorithm, digest.value) != digest.value:
            faults.add(
                second.place,
                "workflow.hash",
                f"{second.filename} has another {digest.algorithm} than at {first.place}",
                expected="one digest for one file",
                remedy="correct the wrong one",
            )
    sources = dict.fromkeys((*first.sources, *second.sources))
    return replace(
        first,
        digests=tuple(Digest(algorithm=name, value=value) for name, value in known.items()),
        sources=tuple(sources),
        uses=_joined_uses(first, second),
    )


def _joined_uses(first: Model, second: Model) -> tuple[ModelUse, ...]:
    """Return the one use of a model in one workflow, with the widgets of both nodes."""
    widgets = dict.fromkeys((*first.uses[0].widgets, *second.uses[0].widgets))
    return (replace(first.uses[0], widgets=tuple(widgets)),)
