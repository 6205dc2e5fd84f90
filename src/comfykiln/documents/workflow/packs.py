"""The node packs that a workflow names, and the pin that most of a pack's nodes carry."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from comfykiln.environment import Node, is_commit
from comfykiln.parsing.values import check_ref, is_version, shown

if TYPE_CHECKING:
    from comfykiln.documents.workflow.graph import GraphNode
    from comfykiln.parsing.faults import Faults

_REGISTRY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}")
_FLOATING = frozenset({"nightly", "latest", "unknown"})


@dataclass(kw_only=True, slots=True)
class _Pack:
    place: str
    registry_id: str | None = None
    repository: str | None = None
    pins: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """The pack's folder: the registry's id, else the repository's name."""
        return self.registry_id or (self.repository or "").rpartition("/")[2]


class Packs:
    """Collects the packs of one workflow's nodes."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._packs: dict[str, _Pack] = {}

    def add(self, node: GraphNode) -> str | None:
        """Take in what a node says of its pack; return the pack's key, None for none."""
        registry_id = self._checked(node, "cnr_id", _REGISTRY_ID, "an id of the registry")
        repository = self._checked(node, "aux_id", _REPOSITORY, "owner/repository")
        key = (registry_id or repository or "").lower()
        if not key:
            return None
        pack = self._packs.setdefault(key, _Pack(place=node.path))
        pack.registry_id = pack.registry_id or registry_id
        pack.repository = pack.repository or repository
        if version := node.properties.text("ver"):
            pack.pins[version] += 1
        return key

    def nodes(self) -> dict[str, Node]:
        """Return the packs by key, in the order of their first node."""
        return {key: self._node(pack) for key, pack in self._packs.items()}

    def _checked(
        self, node: GraphNode, key: str, pattern: re.Pattern[str], expected: str
    ) -> str | None:
        text = node.properties.value.get(key)
        if not isinstance(text, str) or not text:
            return None
        if pattern.fullmatch(text) and not text.endswith("."):
            return text.removesuffix(".git")
        self._faults.add(
            f"{node.path}.properties.{key}",
            f"workflow.{key.replace('_', '-')}",
            f"{shown(text)} names no pack",
            expected=expected,
            remedy="open the workflow in ComfyUI with the pack installed and save it again",
        )
        return None

    def _node(self, pack: _Pack) -> Node:
        pin = self._pin(pack)
        pin = pin.lower() if pin and is_commit(pin.lower()) else pin
        commit = pin if is_commit(pin) else None
        version = pin if pin and commit is None and is_version(pin) else None
        is_short = pin is not None and commit is None and _SHORT_COMMIT.fullmatch(pin) is not None
        if is_short or (version and pack.registry_id is None):
            version = None
        url = f"https://github.com/{pack.repository}" if pack.repository else None
        if commit and url is None:
            message = f"{pack.name}: only the registry knows the repository of its commit"
            self._faults.note(pack.place, "workflow.no-repository", message)
        return Node(
            name=pack.name,
            source="git" if url and version is None else "registry",
            url=url,
            registry_id=pack.registry_id,
            commit=commit,
            version=version,
            ref=pin if commit is None and version is None else None,
            place=pack.place,
        )

    def _pin(self, pack: _Pack) -> str | None:
        """Return the pin that most nodes carry, the later one of equals; tell of others."""
        pins = [(count, pin) for pin, count in pack.pins.items() if pin not in _FLOATING]
        usable = [(count, pin) for count, pin in pins if check_ref(pin, pack.place, self._faults)]
        if not usable:
            message = f"{pack.name} is pinned to nothing"
            self._faults.note(pack.place, "workflow.floating", message)
            return None
        chosen = max(usable, key=lambda entry: entry[0])[1]
        if others := [pin for _, pin in usable if pin != chosen]:
            message = f"{pack.name} is saved at {chosen}, which counts, and {', '.join(others)}"
            self._faults.note(pack.place, "workflow.mixed-pins", message)
        return chosen
