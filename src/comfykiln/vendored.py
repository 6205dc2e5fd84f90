"""Copies of our own modules where a program of its own needs them, kept equal to their source.

The node pack runs in any ComfyUI and cannot import comfykiln, so it carries `transfer/` with it.
"""

from __future__ import annotations

from pathlib import Path

from comfykiln import files
from comfykiln.errors import DriftError

SOURCE = Path("src/comfykiln/transfer")
COPY = Path("services/comfy/cloud-storage/cloud_storage/shared")
BANNER = f"# Generated from {SOURCE}: change it there, then run `invoke render`.\n"


def copies(root: Path) -> dict[Path, bytes]:
    """Return what the copies below the repository `root` must hold, by path."""
    return {
        root / COPY / source.name: BANNER.encode() + source.read_bytes()
        for source in sorted((root / SOURCE).glob("*.py"))
    }


def write(root: Path) -> None:
    """Write every copy and remove those without a source."""
    wanted = copies(root)
    for path in _present(root) - set(wanted):
        path.unlink()
    for path, content in wanted.items():
        files.write_bytes(path, content)


def check(root: Path) -> None:
    """Raise `DriftError` naming every copy that differs from its source."""
    wanted = copies(root)
    drifted = [path for path, content in wanted.items() if _content(path) != content]
    drifted += _present(root) - set(wanted)
    if drifted:
        names = "\n".join(f"  {path.relative_to(root)}" for path in sorted(drifted))
        raise DriftError(
            f"copies differ from {SOURCE}:\n{names}", remedy="run `invoke render` and commit"
        )


def _present(root: Path) -> set[Path]:
    return set((root / COPY).glob("*.py"))


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
