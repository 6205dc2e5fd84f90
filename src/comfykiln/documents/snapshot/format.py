"""The snapshot of ComfyUI-Manager: a map of nodes, JSON or YAML, in every form that occurs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfykiln.documents.formats import Format, Parsed, Pins, Sign, Written
from comfykiln.documents.snapshot.layout import KIND, NODE_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfykiln.environment import Environment


def _parse(data: bytes, source: str) -> Parsed:
    from comfykiln.documents.snapshot.parse import parse  # noqa: PLC0415  # detection reads nothing

    return parse(data, source)


def _write(environment: Environment) -> Written:
    from comfykiln.documents.snapshot.write import write  # noqa: PLC0415  # the same

    return write(environment)


def _as_yaml(written: Written) -> Written:
    from comfykiln.documents.snapshot.write import as_yaml  # noqa: PLC0415  # the same

    return as_yaml(written)


def _has_own_keys(document: Mapping[str, Any]) -> bool:
    return "snapshot_json" in document or any(key in document for key in NODE_KEYS)


def _has_node_map(document: Mapping[str, Any]) -> bool:
    return isinstance(document.get("custom_nodes"), dict)


FORMAT = Format(
    kind=KIND,
    title="snapshot",
    files="ComfyUI-Manager snapshot, JSON or YAML",
    forms=("manager", "nested", "map", "launcher"),
    schema="snapshot",
    order=1,
    parse=_parse,
    write=_write,
    suffixes={".yaml": _as_yaml, ".yml": _as_yaml},
    signs=(Sign(rank=20, holds=_has_own_keys), Sign(rank=40, holds=_has_node_map)),
    pins=Pins(
        key="hash",
        comfyui={
            "manager": "$",
            "map": "$",
            "nested": "$.custom_nodes",
            "launcher": "$.snapshot_json",
        },
    ),
    freezes=True,
)
