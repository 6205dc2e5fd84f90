"""Typed access to a document's values, for readers that run after the shape has been checked.

A value of the wrong type reads as missing: the shape check has already told of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from comfykiln.environment import Extra
from comfykiln.parsing.faults import child

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


class Obj:
    """A map of a document, with its path."""

    def __init__(self, value: Any, path: str = "$") -> None:
        self.value: dict[str, Any] = value if isinstance(value, dict) else {}
        self.path = path

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def __iter__(self) -> Iterator[tuple[str, Any, str]]:
        """Yield key, value and path of each member, in the document's order."""
        for key, member in self.value.items():
            yield key, member, child(self.path, key)

    def text(self, *keys: str) -> str | None:
        """Return the text under the first of `keys` that holds one, stripped; empty is None."""
        for key in keys:
            member = self.value.get(key)
            if isinstance(member, str) and member.strip():
                return member.strip()
        return None

    def flag(self, key: str) -> bool | None:
        """Return the truth value under `key`."""
        member = self.value.get(key)
        return member if isinstance(member, bool) else None

    def number(self, key: str) -> int | float | None:
        """Return the number under `key`."""
        member = self.value.get(key)
        return None if isinstance(member, bool) or not isinstance(member, int | float) else member

    def whole(self, key: str) -> int | None:
        """Return the whole number under `key`."""
        member = self.number(key)
        return int(member) if member is not None and member == int(member) else None

    def obj(self, key: str) -> Obj:
        """Return the map under `key`, empty when there is none."""
        return Obj(self.value.get(key), child(self.path, key))

    def objs(self, key: str) -> list[Obj]:
        """Return the maps in the list under `key`."""
        return [Obj(member, path) for member, path in self.members(key) if isinstance(member, dict)]

    def members(self, key: str) -> list[tuple[Any, str]]:
        """Return value and path of each member of the list under `key`."""
        found = self.value.get(key)
        path = child(self.path, key)
        return [
            (entry, child(path, i))
            for i, entry in enumerate(found if isinstance(found, list) else ())
        ]

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the texts in the list under `key`."""
        return tuple(member for member, _ in self.members(key) if isinstance(member, str))

    def extras(self, kind: str, known: Collection[str], prefix: str = "") -> tuple[Extra, ...]:
        """Return the members that are not among `known`, for writing the same kind again."""
        return tuple(
            Extra(kind=str(kind), path=f"{prefix}{key}", json=plain_json(member))
            for key, member in self.value.items()
            if key not in known
        )


def plain_json(value: Any) -> str:
    """Return `value` as compact JSON with sorted keys: equal values give equal texts."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def put_extras(target: dict[str, Any], extras: Collection[Extra], kind: str) -> None:
    """Add to `target` the extras of `kind`, without replacing a key that is there."""
    for extra in extras:
        if extra.kind == kind:
            target.setdefault(extra.path, json.loads(extra.json))
