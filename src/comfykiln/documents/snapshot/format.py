"""ComfyUI-Manager snapshots, JSON and YAML, in every form that occurs.

Forms: `manager` (git_, cnr_ and file_custom_nodes, pips), `nested` (the same below
`custom_nodes`, as Manager's YAML has it), `map` (the snapshot spec's map of addresses),
`launcher` (a snapshot beside a workflow and files).
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfykiln.documents.kinds import Kind, Parsed, Written
from comfykiln.documents.modelpaths import model_at, model_path
from comfykiln.documents.snapshot.write import document_of
from comfykiln.environment import ComfyUISpec, Environment, Model, ModelSource, Node, Package
from comfykiln.parsing import shape
from comfykiln.parsing.faults import Faults, child
from comfykiln.parsing.fields import Obj
from comfykiln.parsing.reading import value as read_value
from comfykiln.parsing.requirements import from_url, parse_line
from comfykiln.parsing.schemes import check_model_url
from comfykiln.parsing.values import (
    check_name,
    check_names_differ,
    check_ref,
    check_repository,
    directory_name,
    is_package_name,
    is_version,
    repository_key,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NODE_KEYS = ("git_custom_nodes", "cnr_custom_nodes", "file_custom_nodes")
_KEYS = {"comfyui", *NODE_KEYS, "pips", "models", "downloads"}
HASH_KEYS = ("hash", "commit_hash", "commit", "ref")
"""Where a node's commit or branch stands: the spec of the map form names no key."""
_BELOW = {"comfyui", "pips", *NODE_KEYS}
_GIT_KEYS = {"url", *HASH_KEYS, "branch", "name", "disabled", "state"}
_NOTHING = {"", "unknown", "-", "none", "null"}
_SHORT = re.compile(r"[0-9a-f]{7,39}")
_RELEASE = re.compile(r"v?[0-9]+(\.[0-9]+)+([.-][0-9A-Za-z.-]+)?")
_REGISTRY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def parse(data: bytes, source: str) -> Parsed:
    """Return the snapshot in `data`. Raises `FaultyDocumentError` with every fault."""
    faults = Faults(source)
    document = read_value(data, source)
    form = form_of(document)
    shape.check(document, "snapshot", faults, definition=form)
    environment = _READERS[form](Obj(document), faults)
    check_names(environment.nodes, faults)
    faults.stop()
    return Parsed(
        kind=Kind.SNAPSHOT,
        source=source,
        environment=environment,
        form=form,
        notes=tuple(faults.notes),
    )


def write(environment: Environment) -> Written:
    """Return the snapshot that ComfyUI-Manager restores, as JSON."""
    text = json.dumps(document_of(environment), indent=4, ensure_ascii=False) + "\n"
    return Written(kind=Kind.SNAPSHOT, filename="snapshot.json", data=text.encode())


def as_yaml(written: Written) -> Written:
    """Return a written snapshot in the YAML form, all of it below `custom_nodes`."""
    from comfykiln.parsing.yaml_writing import dump  # noqa: PLC0415  # 18 ms, YAML only

    text = dump({"custom_nodes": json.loads(written.data)})
    return Written(kind=Kind.SNAPSHOT, filename="snapshot.yaml", data=text.encode())


def form_of(document: Any) -> str:
    """Return which form of a snapshot a value is."""
    if not isinstance(document, dict):
        return "manager"
    nodes = document.get("custom_nodes")
    if isinstance(nodes, dict) and "snapshot_json" not in document:
        return "nested" if _BELOW & nodes.keys() else "map"
    if any(key in document for key in NODE_KEYS):
        return "manager"
    if "snapshot_json" in document:
        return "launcher"
    return "map" if "custom_nodes" in document else "manager"


def read_body(body: Obj, faults: Faults) -> Environment:
    """Return what a snapshot's own keys say."""
    nodes = [
        *_git_nodes(body.obj("git_custom_nodes"), faults),
        *_registry_nodes(body.obj("cnr_custom_nodes"), faults),
        *_file_nodes(body, faults),
    ]
    return Environment(
        comfyui=comfyui_of(body, "comfyui", faults),
        nodes=tuple(nodes),
        packages=tuple(_packages(body.obj("pips"), faults)),
        models=tuple(_models(body, faults)),
        extras=body.extras(Kind.SNAPSHOT, _KEYS),
    )


def read_below(nodes: Obj, faults: Faults, rules: str) -> Environment:
    """Return what stands below `custom_nodes` of another kind: a snapshot, or a map of addresses.

    Ids of rules begin with `rules`.
    """
    is_map = bool(nodes.value) and not _BELOW & nodes.value.keys()
    definition = "gitNodes" if is_map else "manager"
    shape.check(
        nodes.value, "snapshot", faults, path=nodes.path, rules=rules, definition=definition
    )
    return (
        Environment(nodes=tuple(_git_nodes(nodes, faults))) if is_map else read_body(nodes, faults)
    )


def _nested(document: Obj, faults: Faults) -> Environment:
    """Return both levels as one: pips and ComfyUI may stand beside `custom_nodes`."""
    inner = read_body(document.obj("custom_nodes"), faults)
    outer = read_body(document, faults)
    told = {entry.comfyui.wanted for entry in (inner, outer)} - {None}
    if len(told) > 1:
        problem = f"ComfyUI is {outer.comfyui.wanted} here and {inner.comfyui.wanted} below"
        faults.add("$.comfyui", "snapshot.comfyui", problem, remedy="keep one of them")
    return replace(
        inner,
        comfyui=inner.comfyui if inner.comfyui.wanted else outer.comfyui,
        nodes=(*inner.nodes, *outer.nodes),
        packages=(*inner.packages, *outer.packages),
        models=(*inner.models, *outer.models),
        extras=(*inner.extras, *document.extras(Kind.SNAPSHOT, {*_KEYS, "custom_nodes"})),
    )


def _map(document: Obj, faults: Faults) -> Environment:
    """Return the map of addresses, and what a snapshot's own keys say beside it."""
    beside = read_body(document, faults)
    return replace(
        beside,
        nodes=(*_git_nodes(document.obj("custom_nodes"), faults), *beside.nodes),
        extras=document.extras(Kind.SNAPSHOT, {*_KEYS, "custom_nodes"}),
    )


def _launcher(document: Obj, faults: Faults) -> Environment:
    from comfykiln.documents.snapshot.launcher import launcher  # noqa: PLC0415  # only this rare form

    return launcher(document, read_body(document.obj("snapshot_json"), faults), faults)


_READERS: dict[str, Callable[[Obj, Faults], Environment]] = {
    "manager": read_body,
    "nested": _nested,
    "map": _map,
    "launcher": _launcher,
}


def check_names(nodes: Iterable[Node], faults: Faults) -> None:
    """Add a fault for folders and files of `custom_nodes/` whose names differ by case only.

    One repository under two spellings, and a registry node beside a clone of the same pack, are
    told as advice instead: both occur in real files and mean one thing.
    """
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for node in nodes:
        if node.source != "registry":
            key = repository_key(node.url) if node.url else node.name
            seen.setdefault((node.name.casefold(), key), (node.name, node.place))
    check_names_differ(seen.values(), faults)


def comfyui_of(body: Obj, key: str, faults: Faults) -> ComfyUISpec:
    """Return what `key` says of ComfyUI: a commit, a release, an abbreviated commit, a branch."""
    commit, ref = pin_of(body, faults, key)
    if commit or not ref:
        return ComfyUISpec(commit=commit)
    if _RELEASE.fullmatch(ref):
        return ComfyUISpec(version=ref)
    return ComfyUISpec(ref=ref) if _SHORT.fullmatch(ref) else ComfyUISpec(branch=ref)


def pin_of(body: Obj, faults: Faults, *keys: str) -> tuple[str | None, str | None]:
    """Return the commit and the moving name under the first of `keys`; both None if unknown."""
    text = body.text(*keys)
    if text is None or text.lower() in _NOTHING:
        return None, None
    if re.fullmatch(r"[0-9a-fA-F]{40}", text):
        return text.lower(), None
    key = next(key for key in keys if body.text(key))
    return None, text if check_ref(text, child(body.path, key), faults) else None


def hash_of(node: Obj, faults: Faults) -> tuple[str | None, str | None]:
    """Return the commit and the moving name of a node, whatever the key; two must agree."""
    said = {key: text.lower() for key in HASH_KEYS if (text := node.text(key))}
    if len(set(said.values())) > 1:
        problem = " and ".join(f"{key} is {shown(text)}" for key, text in said.items())
        faults.add(node.path, "snapshot.hash", problem, expected="one", remedy="keep one of them")
    return pin_of(node, faults, *HASH_KEYS)


def _git_nodes(nodes: Obj, faults: Faults) -> Iterable[Node]:
    for address, value, path in nodes:
        node = Obj(value, path)
        url = node.text("url") or address.strip()
        if not check_repository(url, path, faults):
            continue
        inner = node.text("url")
        named = None if _is_address(address) else address
        if inner and not named and not check_repository(address.strip(), path, faults):
            continue
        if inner and not named and repository_key(inner) != repository_key(address):
            problem = f"{shown(inner)} is another repository than the key names"
            faults.add(child(path, "url"), "snapshot.url", problem, remedy="keep one of them")
        name = node.text("name") or named or directory_name(url)
        if check_name(name, path, faults):
            yield _git_node(node, name, url, faults)


def _is_address(text: str) -> bool:
    return ":" in text or "/" in text


def _git_node(node: Obj, name: str, url: str, faults: Faults) -> Node:
    commit, ref = hash_of(node, faults)
    _, branch = pin_of(node, faults, "branch")
    state = node.text("state")
    return Node(
        name=name,
        source="git",
        url=url,
        commit=commit,
        ref=ref or branch,
        disabled=state == "disabled" if state else bool(node.flag("disabled")),
        extras=node.extras(Kind.SNAPSHOT, _GIT_KEYS),
        place=node.path,
    )


def _registry_nodes(nodes: Obj, faults: Faults) -> Iterable[Node]:
    for identifier, value, path in nodes:
        if not _REGISTRY_ID.fullmatch(identifier):
            problem = f"{shown(identifier)} is no registry id"
            faults.add(path, "snapshot.registry-id", problem, expected="letters, digits, . _ -")
            continue
        text = value.strip() if isinstance(value, str) else ""
        moving = text.lower() in ("nightly", "latest")
        known = bool(text) and text.lower() not in _NOTHING and not moving
        if known and not is_version(text):
            problem = f"{shown(text)} is no registry version"
            faults.add(path, "snapshot.version", problem, expected='a version such as "1.2.3"')
        yield Node(
            name=identifier,
            source="registry",
            registry_id=identifier,
            version=text if known else None,
            ref=text if moving else None,
            place=path,
        )


def _file_nodes(body: Obj, faults: Faults) -> Iterable[Node]:
    for node in body.objs("file_custom_nodes"):
        name = node.value.get("filename")
        path = child(node.path, "filename")
        if isinstance(name, str) and check_name(name, path, faults):
            disabled = bool(node.flag("disabled"))
            extras = node.extras(Kind.SNAPSHOT, {"filename", "disabled"})
            yield Node(name=name, source="file", disabled=disabled, extras=extras, place=node.path)


def _packages(pips: Obj, faults: Faults) -> Iterable[Package]:
    for key, value, path in pips:
        text = value.strip() if isinstance(value, str) else ""
        package = _package(key.strip(), text, path, faults)
        if package:
            yield package
        elif key.strip().startswith("#"):
            faults.note(path, "snapshot.pip-comment", "a comment, left out")


def _package(key: str, text: str, path: str, faults: Faults) -> Package | None:
    """Return the package of one entry: the key is a line, the value empty, an address or a version.

    The version form is the snapshot spec's own (`"numpy": "1.26.4"`).
    """
    if not text:
        return parse_line(key, path, faults)
    name, _, version = key.partition("==")
    if not is_package_name(name) or (version and not is_version(version)):
        faults.add(path, "requirement.format", f"{shown(key)} is no package", expected="a name")
        return None
    if is_version(text) and version in ("", text):
        return Package(name=name, version=text, place=path)
    if not version and text[0] in "=<>!~":
        return parse_line(f"{name}{text}", path, faults)
    if ":" not in text and not text.startswith("-"):
        problem = f"{shown(text)} is neither a version nor an address"
        expected = 'a version such as "1.26.4", an address, or an empty text'
        faults.add(path, "requirement.format", problem, expected=expected)
        return None
    return from_url(text, path, faults, name=name, version=version or None)


def _models(body: Obj, faults: Faults) -> Iterable[Model]:
    for key in ("models", "downloads"):
        for where, value, path in body.obj(key):
            url = value if isinstance(value, str) else Obj(value, path).text("url")
            target = model_path(where, path, faults)
            if url and not check_model_url(url, path, faults):
                continue
            if target:
                extras = Obj(value, path).extras(Kind.SNAPSHOT, {"url"})
                sources = (ModelSource(url=url),) if url else ()
                yield model_at(target, sources=sources, extras=extras, place=path)
