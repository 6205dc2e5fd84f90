"""The migration manifest, version 1.0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfykiln.documents.formats import Format, Parsed, Pins, Sign, Written, is_node_list
from comfykiln.documents.manifest.layout import KIND, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfykiln.environment import Environment


def _parse(data: bytes, source: str) -> Parsed:
    from comfykiln.documents.manifest.parse import parse  # noqa: PLC0415  # detection reads nothing

    return parse(data, source)


def _write(environment: Environment) -> Written:
    from comfykiln.documents.manifest.write import write  # noqa: PLC0415  # the same

    return write(environment)


def _has_own_keys(document: Mapping[str, Any]) -> bool:
    return "schema_version" in document or "system_info" in document


def _has_dependencies(document: Mapping[str, Any]) -> bool:
    return "dependencies" in document and is_node_list(document.get("custom_nodes"))


FORMAT = Format(
    kind=KIND,
    title="migration manifest",
    files="migration manifest v1.0",
    forms=("1.0",),
    schema=SCHEMA,
    order=2,
    parse=_parse,
    write=_write,
    signs=(Sign(rank=10, holds=_has_own_keys), Sign(rank=50, holds=_has_dependencies)),
    pins=Pins(key="ref"),
)
