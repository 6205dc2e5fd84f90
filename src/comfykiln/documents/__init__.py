"""Every document in, every document out: formats that describe a ComfyUI environment.

A format is a module of its own with
`parse(data: bytes, source: str) -> Parsed` or, where a folder or archive is read,
`read(path: Path) -> Parsed`, and with `write(environment: Environment) -> Written`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln.documents.kinds import Kind, Parsed, Written
from comfykiln.errors import DocumentError

if TYPE_CHECKING:
    from comfykiln.environment import Environment
    from comfykiln.network.indexes import IndexSettings

__all__ = ["Kind", "Parsed", "Written", "module_of", "read", "write"]

_FOLDERS = {
    Kind.SNAPSHOT: "snapshot",
    Kind.MANIFEST: "manifest",
    Kind.EXPORT: "export",
    Kind.COMFYLOCK: "comfylock",
    Kind.COMFYPACK: "comfypack",
    Kind.WORKFLOW: "workflow",
}


def read(
    source: str | Path, *, ref: str | None = None, settings: IndexSettings | None = None
) -> Parsed:
    """Return the document at `source`, a path or an https address, whatever its kind.

    `ref` is the branch, tag or commit, where `source` is a git repository. `settings` say how a
    host is reached, those of this machine where there are none.
    Raises `DocumentError` (exit code 2) that names every fault with its place.
    """
    if isinstance(source, str) and ":" in source:
        from comfykiln.documents import remote  # noqa: PLC0415  # addresses only

        if remote.is_address(source):
            return remote.read(source, ref, read, settings)
    if ref is not None:
        from comfykiln.documents.export.format import read_repository  # noqa: PLC0415  # exports only

        return read_repository(str(source), ref)
    from comfykiln.documents.detect import detect  # noqa: PLC0415  # writers need no detection
    from comfykiln.parsing.reading import load  # noqa: PLC0415  # the same

    path = Path(source)
    module = module_of(detect(path))
    parsed: Parsed = (
        module.read(path) if hasattr(module, "read") else module.parse(load(path), str(path))
    )
    return parsed


def write(environment: Environment, kind: Kind) -> Written:
    """Return `environment` as a document of `kind`, which holds what that kind can hold.

    `convert.losses` tells what it cannot.
    """
    module = module_of(kind)
    if not hasattr(module, "write"):
        raise DocumentError(f"a {kind} cannot be written", remedy="choose another kind")
    written: Written = module.write(environment)
    return written


def module_of(kind: Kind) -> Any:
    """Return the module that reads and writes documents of `kind`."""
    return importlib.import_module(f"comfykiln.documents.{_FOLDERS[kind]}.format")
