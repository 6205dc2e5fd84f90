"""Walks a migration manifest beside its schema: what version 1.0 lists, what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfykiln.documents.manifest.layout import SCHEMA
from comfykiln.parsing import shape
from comfykiln.parsing.faults import child

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfykiln.parsing.shape import Schema


def minimal(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest without empty and null members that are not required, in schema order.

    Packages, variables and the members of lists stay as they are.
    """
    return dict(_minimal_members(manifest, shape.schema(SCHEMA)))


def unknown_members(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield key and path of each member that version 1.0 does not list."""
    yield from _unknown(manifest, shape.schema(SCHEMA), "$")


def _minimal(value: Any, part: Schema) -> Any:
    if isinstance(value, list):
        return [_minimal(member, part.get("items", {})) for member in value]
    if isinstance(value, dict):
        return dict(_minimal_members(value, part))
    return value


def _minimal_members(value: dict[str, Any], part: Schema) -> Iterator[tuple[str, Any]]:
    part = _resolve(part)
    listed = part.get("properties", {})
    for key in sorted(value, key=lambda key: [*listed, key].index(key)):
        rule = _rule(part, key)
        member = _minimal(value[key], rule)
        is_pin = key not in listed and rule.get("type") == "string"
        if key in part.get("required", ()) or is_pin or member not in (None, "", [], {}):
            yield key, member


def _unknown(value: Any, part: Schema, path: str) -> Iterator[tuple[str, str]]:
    part = _resolve(part)
    if isinstance(value, list):
        for index, member in enumerate(value):
            yield from _unknown(member, part.get("items", {}), child(path, index))
    elif isinstance(value, dict) and part:
        for key, member in value.items():
            if rule := _rule(part, key):
                yield from _unknown(member, rule, child(path, key))
            else:
                yield key, child(path, key)


def _rule(part: Schema, key: str) -> Schema:
    """Return the schema of the member `key`, empty when version 1.0 does not list it."""
    entries = part.get("additionalProperties")
    rule: Schema = part.get("properties", {}).get(key, entries if isinstance(entries, dict) else {})
    return _resolve(rule)


def _resolve(part: Schema) -> Schema:
    if "$ref" not in part:
        return part
    found: Schema = shape.schema(SCHEMA)["$defs"][part["$ref"].removeprefix("#/$defs/")]
    return found
