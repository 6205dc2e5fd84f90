"""Every document in, every document out: formats that describe a ComfyUI environment.

A format is a folder with a `format.py`, which declares it as a record of `formats.Format`.
"""

from __future__ import annotations

from pathlib import Path

from comfykiln.documents.formats import Parsed, Written, write

__all__ = ["Parsed", "Written", "read", "write"]


def read(source: str | Path, *, ref: str | None = None) -> Parsed:
    """Return the document at `source`, a path or an https address, whatever its kind.

    `ref` is the branch, tag or commit, where `source` is a git repository.
    Raises `DocumentError` (exit code 2) that names every fault with its place.
    """
    if isinstance(source, str) and ":" in source:
        from comfykiln.documents import remote  # noqa: PLC0415  # addresses only

        if remote.is_address(source):
            return remote.read(source, ref, read)
    if ref is not None:
        from comfykiln.documents.export.parse import read_repository  # noqa: PLC0415  # exports only

        return read_repository(str(source), ref)
    from comfykiln.documents.detect import detect  # noqa: PLC0415  # writers need no detection
    from comfykiln.parsing.reading import load  # noqa: PLC0415  # the same

    path = Path(source)
    found = detect(path)
    return found.read(path) if found.read else found.parse(load(path), str(path))
