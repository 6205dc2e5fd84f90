"""comfy-pack: snapshot.json with its list of nodes, requirements.txt beside it, or all in a zip."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from comfykiln.documents.comfypack.layout import MAX_ARCHIVE, REQUIREMENTS, SNAPSHOT, WORKFLOWS
from comfykiln.documents.kinds import Kind, Parsed, Written
from comfykiln.documents.modelpaths import first_source, model_at, model_path
from comfykiln.documents.snapshot.format import HASH_KEYS, check_names, comfyui_of, hash_of
from comfykiln.documents.snapshot.write import repository_of
from comfykiln.environment import (
    Attachment,
    Digest,
    Environment,
    Model,
    ModelSource,
    Node,
    SystemSpec,
    Workflow,
)
from comfykiln.parsing import shape
from comfykiln.parsing.faults import Faults, child
from comfykiln.parsing.fields import Obj, put_extras
from comfykiln.parsing.reading import load
from comfykiln.parsing.reading import value as read_value
from comfykiln.parsing.requirements import line_of, parse_file
from comfykiln.parsing.schemes import check_model_url
from comfykiln.parsing.values import check_name, check_repository, directory_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_ZIP = b"PK\x03\x04"
_KEYS = {"python", "comfyui", "models", "custom_nodes"}
_NODE_KEYS = {"url", *HASH_KEYS, "disabled"}
_MODEL_KEYS = {"filename", "size", "sha256", "disabled", "source"}
_SOURCE_KEYS = {
    "download_url": "url",
    "url": "page",
    "repo": "repository",
    "commit": "revision",
    "path": "path",
    "source": "hub",
}
_SOURCE = "comfypack.source"


def read(path: Path) -> Parsed:
    """Return the pack at `path`: a `.cpack.zip`, its folder, or its snapshot.json.

    Raises `DocumentError` with every fault of snapshot.json and requirements.txt.
    """
    if path.is_dir():
        return parse_files(_beside(path / SNAPSHOT), str(path))
    if _is_zip(path):
        return parse(load(path, limit=MAX_ARCHIVE), str(path))
    return parse_files(_beside(path), str(path))


def _is_zip(path: Path) -> bool:
    if not path.is_file():
        return False  # `load` tells what is wrong with it
    with path.open("rb") as file:
        return file.read(4) == _ZIP


def parse(data: bytes, source: str) -> Parsed:
    """Return what a snapshot.json alone says, or a `.cpack.zip` as a whole."""
    if data.startswith(_ZIP):
        from comfykiln.documents.comfypack.zips import members  # noqa: PLC0415  # zip files only

        return parse_files(members(data, source), source)
    return parse_files({SNAPSHOT: data}, source)


def parse_files(files: Mapping[str, bytes], source: str) -> Parsed:
    """Return the pack whose files are given by name."""
    faults = Faults(source)
    value = read_value(files[SNAPSHOT], source)
    shape.check(value, "comfypack", faults)
    document = Obj(value)
    requirements = files.get(REQUIREMENTS, b"")
    environment = Environment(
        comfyui=comfyui_of(document, "comfyui", faults),
        system=SystemSpec(python=document.text("python")),
        nodes=tuple(_nodes(document, faults)),
        packages=tuple(parse_file(requirements, REQUIREMENTS, faults)),
        models=tuple(_models(document, faults)),
        workflows=tuple(_workflows(files, faults)),
        attachments=tuple(_attachments(files)),
        extras=document.extras(Kind.COMFYPACK, _KEYS),
    )
    check_names(environment.nodes, faults)
    faults.stop()
    return Parsed(
        kind=Kind.COMFYPACK, source=source, environment=environment, notes=tuple(faults.notes)
    )


def write(environment: Environment) -> Written:
    """Return a snapshot.json with its requirements.txt, workflows and inputs beside it."""
    document: dict[str, Any] = {
        "python": environment.system.python,
        "comfyui": environment.comfyui.wanted,
        "models": [_model_value(model) for model in environment.models if model.paths],
        "custom_nodes": list(_node_values(environment.nodes)),
    }
    put_extras(document, environment.extras, Kind.COMFYPACK)
    packages = (*environment.torch.packages, *environment.packages)
    lines = "".join(f"{line_of(package)}\n" for package in packages)
    beside = [(REQUIREMENTS, lines.encode())]
    for name, form in WORKFLOWS.items():
        beside += [
            (name, workflow.data) for workflow in environment.workflows if workflow.format == form
        ][:1]
    beside += [
        (attachment.path, attachment.data)
        for attachment in environment.attachments
        if _is_input(attachment.path)
    ]
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return Written(kind=Kind.COMFYPACK, filename=SNAPSHOT, data=text.encode(), beside=tuple(beside))


def reread(written: Written) -> Environment:
    """Return what `written` says, read back from its bytes and the files beside it."""
    files = {written.filename: written.data, **dict(written.beside)}
    return parse_files(files, written.filename).environment


def _beside(path: Path) -> dict[str, bytes]:
    """Return snapshot.json and what lies beside it under the names of a pack."""
    files = {SNAPSHOT: load(path)}
    names = [REQUIREMENTS, *WORKFLOWS] if path.name == SNAPSHOT else [REQUIREMENTS]
    for name in names:
        if (path.parent / name).is_file():
            files[name] = load(path.parent / name)
    return files


def _nodes(document: Obj, faults: Faults) -> Iterable[Node]:
    for node in document.objs("custom_nodes"):
        url = node.text("url") or ""
        path = child(node.path, "url")
        if not check_repository(url, path, faults):
            continue
        name = directory_name(url)
        if not check_name(name, path, faults):
            continue
        commit, ref = hash_of(node, faults)
        yield Node(
            name=name,
            source="git",
            url=url,
            commit=commit,
            ref=ref,
            disabled=bool(node.flag("disabled")),
            extras=node.extras(Kind.COMFYPACK, _NODE_KEYS),
            place=node.path,
        )


def _models(document: Obj, faults: Faults) -> Iterable[Model]:
    for model in document.objs("models"):
        target = model_path(model.text("filename") or "", child(model.path, "filename"), faults)
        source = _source(model.obj("source"), faults)
        if target is None:
            continue
        sha256 = model.text("sha256")
        yield model_at(
            target,
            size=model.whole("size"),
            disabled=bool(model.flag("disabled")),
            digests=(Digest(algorithm="sha256", value=sha256.lower()),) if sha256 else (),
            sources=(source,) if source else (),
            extras=(
                *model.extras(Kind.COMFYPACK, _MODEL_KEYS),
                *model.obj("source").extras(_SOURCE, _SOURCE_KEYS),
            ),
            place=model.path,
        )


def _source(source: Obj, faults: Faults) -> ModelSource | None:
    """Return where a model is had; a source that only names a page is none."""
    fields = {field: source.text(key) for key, field in _SOURCE_KEYS.items()}
    url = fields.pop("url")
    path = child(source.path, "download_url")
    if url is None or not check_model_url(url, path, faults):
        return None
    return ModelSource(url=url, **fields)


def _workflows(files: Mapping[str, bytes], faults: Faults) -> Iterable[Workflow]:
    """Return the pack's workflows as the workflow reader understands them."""
    from comfykiln.documents.workflow import format as workflow  # noqa: PLC0415  # packs without one need none

    for name in WORKFLOWS:
        if name in files:
            inner = Faults(faults.source)
            yield from workflow.needs(files[name], PurePath(name).stem, inner).workflows
            faults.records += [
                replace(record, path=f"{name} {record.path}") for record in inner.records
            ]


def _attachments(files: Mapping[str, bytes]) -> Iterable[Attachment]:
    return (Attachment(path=name, data=files[name]) for name in sorted(files) if _is_input(name))


def _is_input(name: str) -> bool:
    return name.startswith("input/")


def _node_values(nodes: Iterable[Node]) -> Iterable[dict[str, Any]]:
    for node in nodes:
        url, ref = repository_of(node)
        if url:
            value = {"url": url, "commit_hash": ref, "disabled": node.disabled}
            put_extras(value, node.extras, Kind.COMFYPACK)
            yield value


def _model_value(model: Model) -> dict[str, Any]:
    source: dict[str, Any] = {}
    if first := first_source(model):
        source = {key: getattr(first, field) for key, field in _SOURCE_KEYS.items()}
        source = {key: value for key, value in source.items() if value}
    put_extras(source, model.extras, _SOURCE)
    value: dict[str, Any] = {
        "filename": model.paths[0],
        "size": model.size,
        "sha256": model.digest("sha256"),
        "disabled": model.disabled,
        "source": source,
    }
    put_extras(value, model.extras, Kind.COMFYPACK)
    return value
