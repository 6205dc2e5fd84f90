"""The models and workflows of an export's pyproject.toml, read and written."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from comfykiln.documents.kinds import Kind
from comfykiln.documents.modelpaths import below_models, model_at, model_path
from comfykiln.documents.workflow import format as workflows
from comfykiln.environment import (
    Criticality,
    Digest,
    Model,
    ModelSource,
    ModelUse,
    WidgetUse,
    Workflow,
)
from comfykiln.parsing.faults import Faults, child
from comfykiln.parsing.fields import put_extras
from comfykiln.parsing.schemes import check_model_url
from comfykiln.parsing.values import check_name, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from comfykiln.parsing.fields import Obj

_MODEL_KEYS = ("filename", "size", "relative_path", "category", "sha256", "sources")
_WORKFLOW_KEYS = ("path", "nodes", "models", "custom_node_map")
_KEY_DIGITS = 16
MAX_WORKFLOWS = 1_000
MAX_WORKFLOW_BYTES = 20 * 1024 * 1024


def read_models(table: Obj, uses: Obj, peer: str, faults: Faults) -> tuple[Model, ...]:
    """Return the models of the whole list and of each workflow; one record per file.

    `peer` (`comfydock` or `comfygit`) tells over what their keys were computed.
    """
    found: dict[str, Model] = {}
    for key, _, _ in table:
        model = _model(key, table.obj(key), peer, faults)
        if model is not None:
            found[key] = model
    for name, _, _ in uses:
        for use in uses.obj(name).objs("models"):
            key = _key_of(use, found)
            known = found.get(key) or _intent(use, peer, faults)
            if known is not None:
                found[key] = replace(known, uses=(*known.uses, _use(name, use)))
    return tuple(found.values())


def _model(key: str, entry: Obj, peer: str, faults: Faults) -> Model | None:
    model = _at(entry, faults)
    sha256 = entry.text("sha256")
    digests = [Digest(algorithm="sha256", value=sha256)] if sha256 else []
    if not sha256 or not sha256.startswith(key):
        digests.append(_sampled(key, peer))
    return model and replace(
        model,
        size=entry.whole("size"),
        digests=tuple(digests),
        extras=entry.extras(Kind.EXPORT, _MODEL_KEYS),
    )


def _sampled(key: str, peer: str) -> Digest:
    """Return the digits a peer computes over samples of a file: a hint, no proof."""
    algorithm = "sampled-xxhash" if peer == "comfygit" else "sampled-blake3"
    return Digest(algorithm=algorithm, value=key)


def _at(entry: Obj, faults: Faults) -> Model | None:
    """Return the model with its place and sources; without a path only its name is known."""
    filename = str(entry.value.get("filename", ""))
    relative = entry.text("relative_path")
    path = model_path(relative or filename, f"{entry.path}.relative_path", faults)
    if path is None:
        return None
    model = model_at(path, sources=_sources(entry, faults), place=entry.path)
    category = entry.text("category") or model.category
    return replace(model, filename=filename, paths=(path,) if relative else (), category=category)


def _sources(entry: Obj, faults: Faults) -> tuple[ModelSource, ...]:
    """Return the addresses; peers accept any text there, so what is none is told and left out.

    A file of the machine that wrote the export counts where its sha256 says which file is meant.
    """
    found, local = [], "sha256" in entry
    for value, path in entry.members("sources"):
        url = value.get("url") if isinstance(value, dict) else value
        tried = Faults(faults.source)
        if isinstance(url, str) and check_model_url(url, path, tried, local=local):
            hub = value.get("type") if isinstance(value, dict) else None
            found.append(ModelSource(url=url, hub=hub if isinstance(hub, str) else None))
        else:
            faults.note(path, "export.source", f"{shown(url)} is no address: left out")
    return tuple(dict.fromkeys(found))


def _key_of(use: Obj, known: Mapping[str, Model]) -> str:
    """Return the key of the model that a workflow's entry means."""
    key = use.text("hash")
    if key is not None:
        return key
    place = use.text("relative_path") or f"{use.text('category')}/{use.value['filename']}"
    same = (key for key, model in known.items() if f"models/{place}" in model.paths)
    return next(same, place)


def _intent(use: Obj, peer: str, faults: Faults) -> Model | None:
    """Return a model that only a workflow names: its file is yet to be fetched."""
    model = _at(use, faults)
    key = use.text("hash")
    return model and replace(model, digests=(_sampled(key, peer),) if key else ())


def _use(workflow: str, use: Obj) -> ModelUse:
    return ModelUse(
        workflow=workflow,
        criticality=cast("Criticality | None", use.text("criticality")),
        status=use.text("status"),
        widgets=tuple(
            WidgetUse(
                node_id=str(node.value["node_id"]),
                node_type=node.value["node_type"],
                index=node.whole("widget_idx") or 0,
                value=str(node.value.get("widget_value", "")),
            )
            for node in use.objs("nodes")
        ),
    )


def read_workflows(
    table: Obj, members: Mapping[str, bytes], names: Mapping[str, str], faults: Faults
) -> tuple[Workflow, ...]:
    """Return the workflows that are listed, then those that lie there unlisted.

    `names` gives the folder of each node key.
    """
    sizes = [len(data) for name, data in members.items() if name.startswith("workflows/")]
    if len(sizes) > MAX_WORKFLOWS or sum(sizes) > MAX_WORKFLOW_BYTES:
        faults.add(
            "workflows/",
            "export.length",
            f"{len(sizes):,} files of {sum(sizes):,} bytes",
            expected=f"at most {MAX_WORKFLOWS:,} of {MAX_WORKFLOW_BYTES:,}",
            remedy="export only the workflows that are needed",
        )
        return ()
    found = []
    taken = set()
    for name, _, path in table:
        entry = table.obj(name)
        check_name(name, path, faults)
        file = entry.text("path") or f"workflows/{name}.json"
        taken.add(file)
        if file in members:
            workflow = _workflow(name, file, members[file], faults)
            found.append(workflow and _as_listed(workflow, entry, names))
        else:
            faults.add(
                child(path, "path"),
                "export.workflow",
                f"{shown(file)} is not in the export",
                expected="every workflow that is listed",
                remedy="export again, or remove the entry",
            )
    for file in sorted(members):
        if file.startswith("workflows/") and file.endswith(".json") and file not in taken:
            name = file.removeprefix("workflows/").removesuffix(".json")
            found.append(_workflow(name, file, members[file], faults))
    return tuple(entry for entry in found if entry is not None)


def _workflow(name: str, file: str, data: bytes, faults: Faults) -> Workflow | None:
    inner = Faults(faults.source)
    needs = workflows.needs(data, name, inner, path=file)
    for fault in inner.records:
        faults.records.append(replace(fault, path=f"{file} {fault.path}"))
    return next(iter(needs.workflows), None)


def _as_listed(workflow: Workflow, entry: Obj, names: Mapping[str, str]) -> Workflow:
    """Return the workflow with what the export says of it, which goes before its own words."""
    said = {
        kind: None if key is False else names.get(str(key), str(key))
        for kind, key, _ in entry.obj("custom_node_map")
        if key is not True
    }
    node_map = {**dict(workflow.node_map), **said}
    listed = tuple(names.get(key, key) for key in entry.texts("nodes"))
    return replace(
        workflow,
        packs=listed if "nodes" in entry else workflow.packs,
        node_map=tuple(sorted(node_map.items())),
        unresolved=tuple(kind for kind in workflow.unresolved if kind not in said),
        extras=entry.extras(Kind.EXPORT, _WORKFLOW_KEYS),
    )


def keys_of(models: Iterable[Model]) -> list[str | None]:
    """Return each model's key within an export, None for one without a key or a path.

    It is a peer's own, else the start of its sha256, longer where another place has the same file.
    """
    keys: list[str | None] = []
    for model in models:
        free = (key for key in _keys(model) if key not in keys)
        keys.append(next(free, None) if model.paths else None)
    return keys


def _keys(model: Model) -> Iterator[str]:
    yield from (entry.value for entry in model.digests if entry.algorithm.startswith("sampled-"))
    sha256 = _sha256(model) or ""
    yield from (sha256[:end] for end in range(_KEY_DIGITS, len(sha256) + 1))


def _sha256(model: Model) -> str | None:
    """Return the sha256 where it is one: other kinds of documents do not always look."""
    digest = model.digest("sha256") or ""
    return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None


def model_tables(models: Sequence[Model]) -> dict[str, dict[str, Any]]:
    """Return the models that have a key and a path, by key."""
    found = {}
    for model, key in zip(models, keys_of(models), strict=True):
        if key is None:
            continue
        table: dict[str, Any] = {
            "filename": model.filename,
            "size": model.size,
            "relative_path": below_models(model.paths[0]),
            "category": model.category,
            "sha256": _sha256(model),
            "sources": [source.url for source in model.sources] or None,
        }
        put_extras(table, model.extras, Kind.EXPORT)
        found[key] = {name: value for name, value in table.items() if value is not None}
    return found


def workflow_tables(
    found: Iterable[Workflow], models: Sequence[Model], keys: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return the workflows by name; `keys` gives the key of each node's folder."""
    listed = list(zip(models, keys_of(models), strict=True))
    tables = {}
    for workflow in found:
        node_map = {
            kind: False if pack is None else keys.get(pack, pack)
            for kind, pack in workflow.node_map
        }
        table: dict[str, Any] = {
            "path": path_of(workflow),
            "nodes": [keys.get(pack, pack) for pack in workflow.packs] or None,
            "models": [
                _use_table(model, key, use)
                for model, key in listed
                for use in model.uses
                if use.workflow == workflow.name
            ]
            or None,
            "custom_node_map": node_map or None,
        }
        put_extras(table, workflow.extras, Kind.EXPORT)
        tables[workflow.name] = {name: entry for name, entry in table.items() if entry is not None}
    return tables


def path_of(workflow: Workflow) -> str:
    """Return where a workflow lies in an export."""
    path = workflow.path or ""
    own = path.startswith("workflows/") and path.endswith(".json")
    return path if own else f"workflows/{workflow.name}.json"


def _use_table(model: Model, key: str | None, use: ModelUse) -> dict[str, Any]:
    status = use.status or ("resolved" if key else "unresolved")
    fetched = key is None or status != "resolved"
    table = {
        "filename": model.filename,
        "category": model.category or "",
        "criticality": use.criticality or "flexible",
        "status": status,
        "nodes": [
            {
                "node_id": widget.node_id,
                "node_type": widget.node_type,
                "widget_idx": widget.index,
                "widget_value": widget.value,
            }
            for widget in use.widgets
        ],
        "hash": key,
        "relative_path": below_models(model.paths[0]) if model.paths else None,
        "sources": [source.url for source in model.sources] or None if fetched else None,
    }
    return {name: value for name, value in table.items() if value is not None}
