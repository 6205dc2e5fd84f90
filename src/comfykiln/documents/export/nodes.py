"""The custom nodes of an export's pyproject.toml, read and written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from comfykiln.documents.kinds import Kind
from comfykiln.documents.manifest.rules import REGISTRY_ID
from comfykiln.documents.snapshot.write import repository_of
from comfykiln.environment import Criticality, Node, is_commit
from comfykiln.parsing import values
from comfykiln.parsing.fields import put_extras
from comfykiln.parsing.values import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from comfykiln.parsing.faults import Faults
    from comfykiln.parsing.fields import Obj

_KEYS = (
    *("name", "version", "source", "registry_id", "repository", "download_url", "branch"),
    *("pinned_commit", "criticality", "dependency_sources"),
)
DEVELOPMENT = "dev"
"""What peers write as the version of a development node."""


def read_nodes(table: Obj, with_code: Collection[str], faults: Faults) -> tuple[Node, ...]:
    """Return the nodes; `with_code` names the development nodes whose code travels along."""
    nodes = []
    for key, _, path in table:
        found = table.obj(key)
        node = _node(key, found, faults)
        nodes.append(node)
        if node.source == "development" and node.name not in with_code and node.url is None:
            message = f"{node.name}: its code is not in the export, so no build can restore it"
            faults.note(path, "export.no-code", message)
    # A registry node beside a clone of the same pack is told as advice, as in snapshots.
    names = [(node.name, node.place) for node in nodes if node.source != "registry"]
    first: dict[str, str] = {}
    for name, path in names:
        if first.setdefault(name, path) != path:
            faults.add(
                path,
                "export.duplicate-node",
                f"{shown(name)} is the name of {first[name]} too",
                expected="one node per folder",
                remedy="remove one of them",
            )
    values.check_names_differ(names, faults)
    return tuple(nodes)


def _node(key: str, found: Obj, faults: Faults) -> Node:
    name = found.text("name") or key
    for text in {key, name}:
        values.check_name(text, found.path, faults)
    node = Node(
        name=name,
        source="development",
        identifier=None if key == name else key,
        criticality=cast("Criticality | None", found.text("criticality")),
        dependency_sources=found.texts("dependency_sources"),
        extras=found.extras(Kind.EXPORT, _KEYS),
        place=found.path,
    )
    url = _repository(found, faults)
    match _source(found):
        case "registry":
            return _registry_node(node, found, url, faults)
        case "git":
            return _git_node(replace(node, source="git", url=url), found, faults)
        case _:
            return _git_node(replace(node, url=url), found, faults)


def _source(found: Obj) -> str:
    """Return where a node comes from; what an old export leaves unsaid follows from its keys."""
    guess = "git" if "repository" in found else "development"
    return found.text("source") or ("registry" if "registry_id" in found else guess)


def _repository(found: Obj, faults: Faults) -> str | None:
    url = found.text("repository")
    if url is None or values.check_repository(url, f"{found.path}.repository", faults):
        return url
    return None


def _registry_node(node: Node, found: Obj, url: str | None, faults: Faults) -> Node:
    identifier = found.text("registry_id") or node.identifier or node.name
    version = found.text("version")
    if not REGISTRY_ID.fullmatch(identifier):
        faults.add(
            found.path,
            "export.registry-id",
            f"{shown(identifier)} is no id of the registry",
            expected='an id such as "comfyui-kjnodes"',
            remedy="look the id up on registry.comfy.org",
        )
    if version is not None and not values.is_version(version):
        faults.add(
            f"{found.path}.version",
            "export.version",
            f"{shown(version)} is no version",
            expected='a version such as "1.0.5"',
            remedy="write the version that was installed",
        )
    address = found.text("download_url")
    if address and not values.check_url(address, f"{found.path}.download_url", faults):
        address = None
    return replace(
        node,
        source="registry",
        url=url,
        registry_id=identifier,
        version=version,
        download_url=address,
    )


def _git_node(node: Node, found: Obj, faults: Faults) -> Node:
    """Return a node of a repository, or one under development, which may have one."""
    version = found.text("version")
    if node.source == "development" and version == DEVELOPMENT:
        version = None
    pinned = found.text("pinned_commit") or version
    branch = found.text("branch")
    for key, text in (("version", version), ("pinned_commit", pinned), ("branch", branch)):
        if text and found.text(key) == text:
            values.check_ref(text, f"{found.path}.{key}", faults)
    if node.source == "git" and "repository" not in found:
        faults.add(
            found.path,
            "export.repository",
            f"{shown(node.name)} comes from git, and no repository is named",
            expected="the key `repository`",
            remedy="add the repository's https address",
        )
    commit = pinned if is_commit(pinned) else None
    return replace(
        node,
        commit=commit,
        ref=branch or (pinned if commit is None else None),
        registry_id=found.text("registry_id"),
        download_url=found.text("download_url"),
    )


def node_tables(nodes: Iterable[Node]) -> dict[str, dict[str, Any]]:
    """Return the nodes that peers can restore, by key; others travel in the record alone."""
    return {
        node.identifier or node.name: table
        for node in nodes
        if not node.disabled and (table := _table(node)) is not None
    }


def _table(node: Node) -> dict[str, Any] | None:
    url, ref = repository_of(node)
    if node.source == "registry":
        source, version, url = "registry", node.version, node.url
    elif node.source == "development":
        source, version = "development", DEVELOPMENT
    elif url is not None:
        source, version = "git", ref
    else:
        return None
    table: dict[str, Any] = {
        "name": node.name,
        "version": version,
        "source": source,
        "registry_id": node.registry_id,
        "repository": url,
        "download_url": node.download_url,
        "branch": node.ref if source == "development" or node.commit else None,
        "pinned_commit": node.commit if source == "development" else None,
        "criticality": node.criticality,
        "dependency_sources": list(node.dependency_sources) or None,
    }
    put_extras(table, node.extras, Kind.EXPORT)
    return {key: value for key, value in table.items() if value is not None}
