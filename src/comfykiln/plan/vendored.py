"""Copies of our own files where others need them, kept equal to their source.

The node pack runs in any ComfyUI and cannot import comfykiln, so it carries `transfer/` with it.
The schemas that have an id are published below docs/, for whoever writes such documents.
"""

from __future__ import annotations

import json
from pathlib import Path

from comfykiln.errors import DriftError
from comfykiln.system import files

SOURCE = Path("src/comfykiln/transfer")
COPY = Path("services/comfy/cloud-storage/cloud_storage/shared")
BANNER = f"# Generated from {SOURCE}: change it there, then run `invoke render`.\n"
SCHEMAS = Path("src/comfykiln/schemas")
PUBLISHED = Path("docs/schemas")


def copies(root: Path) -> dict[Path, bytes]:
    """Return what the copies below the repository `root` must hold, by path."""
    modules = {
        root / COPY / source.name: BANNER.encode() + source.read_bytes()
        for source in sorted((root / SOURCE).glob("*.py"))
    }
    schemas = {
        root / PUBLISHED / source.name: data
        for source in sorted((root / SCHEMAS).glob("*.schema.json"))
        if "$id" in json.loads(data := source.read_bytes())
    }
    return modules | schemas


def write(root: Path) -> list[Path]:
    """Write every copy that differs, remove those without a source; return what has changed."""
    wanted = copies(root)
    stray = _present(root) - set(wanted)
    for path in stray:
        path.unlink()
    changed = [path for path, content in wanted.items() if _content(path) != content]
    for path in changed:
        files.write_bytes(path, wanted[path])
    return sorted([*changed, *stray])


def check(root: Path) -> None:
    """Raise `DriftError` naming every copy that differs from its source."""
    wanted = copies(root)
    drifted = {path for path, content in wanted.items() if _content(path) != content}
    drifted |= _present(root) - set(wanted)
    if drifted:
        names = "\n".join(f"  {path.relative_to(root)}" for path in sorted(drifted))
        raise DriftError(
            f"copies differ from {SOURCE} and {SCHEMAS}:\n{names}",
            remedy="run `./kiln render` and commit",
        )


def _present(root: Path) -> set[Path]:
    return {*(root / COPY).glob("*.py"), *(root / PUBLISHED).glob("*.schema.json")}


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
