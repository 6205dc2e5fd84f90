"""A document of any kind, at a path or at an address."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfykiln.documents.formats import Parsed
    from comfykiln.network.indexes import IndexSettings


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
        from comfykiln.documents.export.parse import read_repository  # noqa: PLC0415  # exports only

        return read_repository(str(source), ref)
    from comfykiln.documents.detect import detect  # noqa: PLC0415  # writers need no detection
    from comfykiln.parsing.reading import load  # noqa: PLC0415  # the same

    path = Path(source)
    found = detect(path)
    return found.read(path) if found.read else found.parse(load(path), str(path))
