"""ComfyUI workflows: the form the editor saves, the form the server runs, images that hold one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfykiln.documents.formats import Format, Parsed, Sign
from comfykiln.documents.workflow.layout import KIND, PNG, SCHEMA, is_webp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def _parse(data: bytes, source: str) -> Parsed:
    from comfykiln.documents.workflow.parse import parse  # noqa: PLC0415  # detection reads nothing

    return parse(data, source)


def _read(path: Path) -> Parsed:
    from comfykiln.documents.workflow.parse import read  # noqa: PLC0415  # the same

    return read(path)


def _is_image(head: bytes, _source: str) -> bool:
    return head.startswith(PNG[:4]) or is_webp(head)


def _is_graph(document: Mapping[str, Any]) -> bool:
    if isinstance(document.get("nodes"), list) or isinstance(document.get("prompt"), dict):
        return True
    members = [member for member in document.values() if isinstance(member, dict)]
    return any("class_type" in member for member in members)


FORMAT = Format(
    kind=KIND,
    title="workflow",
    files="workflow JSON, or a PNG or WebP file that embeds one",
    forms=tuple(
        f"{form}{image}" for image in ("", "-in-png", "-in-webp") for form in ("ui", "api")
    ),
    schema=SCHEMA,
    order=6,
    parse=_parse,
    read=_read,
    head=_is_image,
    signs=(Sign(rank=70, holds=_is_graph),),
)
