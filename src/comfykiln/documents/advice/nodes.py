"""Advice on custom nodes and on ComfyUI itself."""

from __future__ import annotations

import functools
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from comfykiln.parsing.values import normal_name, repository_key
from comfykiln.system.gate import masked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfykiln.environment import Environment, Node

_MANAGERS = {"comfyui-manager"}
_OPEN = re.compile(r"(?i)(http|git)://")
_SSH = re.compile(r"(?i)ssh://|[\w.-]+@[\w.-]+:")


@functools.cache
def repositories() -> dict[str, dict[str, Any]]:
    """Return what is known of repositories, by `host/owner/name` in lower case."""
    file = resources.files("comfykiln.documents.advice") / "repositories.json"
    listed = json.loads(file.read_text(encoding="utf-8"))["repositories"]
    return {repository_key(entry["repository"]).lower(): entry for entry in listed}


def floating_ref(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of ComfyUI and nodes that are installed by a name that moves."""
    spec = environment.comfyui
    if not (spec.commit or spec.version):
        name = spec.ref or spec.branch
        yield "$", f"ComfyUI is not pinned ({name or 'no version is named'})"
    for node in environment.nodes:
        if node.disabled or node.source not in ("git", "registry"):
            continue
        if not node.commit and not node.version:
            yield node.place, f"{node.name} is not pinned ({node.ref or 'no commit is named'})"


def duplicate_node(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of nodes that are the same pack, or that would be installed into the same folder."""
    repositories: dict[str, Node] = {}
    folders: dict[str, Node] = {}
    for node in environment.nodes:
        if node.source == "file":
            continue
        key = repository_key(node.url) if node.url else f"registry/{node.name}"
        if key in repositories:
            yield node.place, f"{node.name} is listed twice (also at {repositories[key].place})"
        elif (other := folders.get(normal_name(node.name))) is not None:
            yield node.place, f"{node.name} and {other.name} ({other.place}) share a folder or pack"
        repositories.setdefault(key, node)
        folders.setdefault(normal_name(node.name), node)


def manager_as_node(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of ComfyUI-Manager in the list of nodes: the restoring tool drops every such entry."""
    for node in environment.nodes:
        if normal_name(node.name) in _MANAGERS or "comfyui-manager" in (node.url or "").lower():
            yield node.place, f"{node.name} is ComfyUI-Manager, which is no node to restore"


def repository_archived(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of repositories that are no longer maintained."""
    for node, entry in _known_nodes(environment):
        if entry["state"] in ("archived", "deprecated", "removed", "unmaintained"):
            yield node.place, f"{_name(entry)} is {entry['state']}{_instead(entry)}"


def repository_renamed(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of repositories that live elsewhere now; their old address may be taken by anyone."""
    for node, entry in _known_nodes(environment):
        if entry["state"] == "renamed":
            yield node.place, f"{_name(entry)} has moved{_instead(entry)}"


def unsafe(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of nodes and packages that carried malware or have a hole that nobody fixes."""
    for node, entry in _known_nodes(environment):
        if entry["state"] == "unsafe":
            yield node.place, f"{_name(entry)} is unsafe: {entry['why']}"
    for package in environment.packages:
        why = _packages().get(f"{normal_name(package.name)}=={package.version}")
        if why:
            yield package.place, f"{package.name} {package.version} is unsafe: {why}"


def open_transport(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of repositories that are fetched without encryption, or with a personal key."""
    for node in environment.nodes:
        url = node.url or ""
        if _OPEN.match(url):
            yield node.place, f"{masked(url)} is fetched without encryption; write https"
        elif _SSH.match(url):
            yield node.place, f"{masked(url)} needs a personal key; write the https address"


def _known_nodes(environment: Environment) -> Iterable[tuple[Node, dict[str, Any]]]:
    for node in environment.nodes:
        entry = repositories().get(repository_key(node.url).lower()) if node.url else None
        if entry:
            yield node, entry


def _name(entry: dict[str, Any]) -> str:
    return str(entry["repository"]).removeprefix("https://github.com/")


def _instead(entry: dict[str, Any]) -> str:
    return f"; use {entry['instead']}" if entry.get("instead") else ""


@functools.cache
def _packages() -> dict[str, str]:
    file = resources.files("comfykiln.documents.advice") / "repositories.json"
    listed = json.loads(file.read_text(encoding="utf-8"))["packages"]
    return {
        f"{entry['name']}=={version}": entry["why"]
        for entry in listed
        for version in entry["versions"]
    }
