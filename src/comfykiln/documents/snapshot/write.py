"""An environment as the value of a ComfyUI-Manager snapshot."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from comfykiln.documents.kinds import Kind
from comfykiln.documents.modelpaths import below_models, first_source
from comfykiln.parsing.fields import put_extras
from comfykiln.parsing.requirements import address_of, line_of
from comfykiln.parsing.values import directory_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfykiln.environment import Environment, Node, Package

_ARCHIVE = re.compile(
    r"(https://github\.com/[\w.-]+/[\w.-]+?)(?:\.git)?/archive/(?:refs/(?:tags|heads)/)?"
    r"([^?#]+?)\.(?:tar\.gz|zip)"
)


def document_of(environment: Environment) -> dict[str, Any]:
    """Return what ComfyUI-Manager restores: its own keys, then what a snapshot brought along."""
    document: dict[str, Any] = {
        "comfyui": environment.comfyui.wanted,
        "git_custom_nodes": dict(_git_nodes(environment.nodes)),
        "cnr_custom_nodes": {
            node.registry_id: node.version or _moving(node)
            for node in environment.nodes
            if node.source == "registry" and node.registry_id
        },
        "file_custom_nodes": [
            _with_extras({"filename": node.name, "disabled": node.disabled}, node)
            for node in environment.nodes
            if node.source == "file"
        ],
        "pips": dict(pip(p) for p in (*environment.torch.packages, *environment.packages)),
    }
    models = {
        below_models(path): _with_extras(
            {"url": source.url} if (source := first_source(model)) else {}, model
        )
        for model in environment.models
        for path in model.paths
    }
    if models:
        document["models"] = models
    put_extras(document, environment.extras, Kind.SNAPSHOT)
    return document


def _moving(node: Node) -> str | None:
    """Return a moving version that the registry knows; branches and short commits are none."""
    return node.ref if (node.ref or "").lower() in ("latest", "nightly") else None


def _git_nodes(nodes: Iterable[Node]) -> Iterable[tuple[str, dict[str, Any]]]:
    for node in nodes:
        url, ref = repository_of(node)
        if url:
            entry: dict[str, Any] = {"hash": ref, "disabled": node.disabled}
            if node.name != directory_name(url):
                entry["name"] = node.name
            if node.commit and node.ref:
                entry["branch"] = node.ref
            yield url, _with_extras(entry, node)


def repository_of(node: Node) -> tuple[str | None, str | None]:
    """Return the repository and the commit or ref of a node, two None where it has none.

    GitHub's archives name both.
    """
    if node.source in ("git", "development"):
        return node.url, node.commit or node.ref
    if node.source == "registry" and not node.registry_id:
        return node.url, node.commit or node.ref
    if node.source == "archive" and (match := _ARCHIVE.fullmatch(node.url or "")):
        return match[1], node.commit or match[2]
    return None, None


def pip(package: Package) -> tuple[str, str]:
    """Return a package as Manager keeps it: a `pip freeze` line, split at ` @ `."""
    if package.source == "editable" or package.path or not package.name or not package.url:
        return line_of(package), ""
    version = f"=={package.version}" if package.version else ""
    return f"{package.name}{version}", address_of(package)


def _with_extras(entry: dict[str, Any], record: Any) -> dict[str, Any]:
    put_extras(entry, record.extras, Kind.SNAPSHOT)
    return entry
