"""Environment exports of comfydock, comfygit and comfykiln."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfykiln.documents.export.layout import KIND, PROJECT
from comfykiln.documents.formats import Folder, Format, Parsed, Sign, Written

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from comfykiln.environment import Environment

_GZIP = b"\x1f\x8b"


def _parse(data: bytes, source: str) -> Parsed:
    from comfykiln.documents.export.parse import parse  # noqa: PLC0415  # detection reads nothing

    return parse(data, source)


def _read(path: Path) -> Parsed:
    from comfykiln.documents.export.parse import read  # noqa: PLC0415  # the same

    return read(path)


def _write(environment: Environment) -> Written:
    from comfykiln.documents.export.write import write  # noqa: PLC0415  # the same

    return write(environment)


def _is_archive(head: bytes, source: str) -> bool:
    return head.startswith(_GZIP) or source.endswith((".tar", ".toml"))


def _is_folder(path: Path) -> bool:
    """Say whether `path` is an unpacked export, or a git repository, which may hold one."""
    is_bare = (path / "HEAD").is_file() and (path / "objects").is_dir()
    return (path / PROJECT).is_file() or (path / ".git").exists() or is_bare


def _has_record(document: Mapping[str, Any]) -> bool:
    """Tell the environment.json of an export."""
    return isinstance(document.get("environment"), dict) and "format" in document


FORMAT = Format(
    kind=KIND,
    title="export",
    files=f"tarball, folder, git repository or `{PROJECT}`",
    forms=("comfydock", "comfygit", "comfykiln", "record"),
    schema="export",
    order=3,
    parse=_parse,
    read=_read,
    write=_write,
    head=_is_archive,
    ending=".tar.gz",
    folder=Folder(mark=PROJECT, holds=_is_folder),
    signs=(Sign(rank=60, holds=_has_record),),
)
