"""Say before a build starts that the disk is too small for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import NotPossibleError

if TYPE_CHECKING:
    from comfykiln.engine.engine import Engine

GB = 1_000_000_000
# Beside the torch row: packages, ComfyUI and base, measured for core on cpu.
COMMON_BYTES = int(2.2 * GB)
# uv's cache, the build's stages and the image put together of them each hold the content once.
COPIES = 3
# The containerd store holds it twice more: as the image's layers, and unpacked (34.4 GB in all
# were measured for core on cpu with the torch build of 4.9 GB).
CONTAINERD_COPIES = COPIES + 2
# A build that finds its layers made needs room for little more than what changed.
REBUILD_BYTES = 2 * GB


def bytes_needed(
    torch_gigabytes: float, *, rebuild: bool, containerd_store: bool, further: float = 0
) -> int:
    """Return the free bytes that a build wants in the engine's data root.

    `further` is what the image holds beyond core and its torch row, in GB. Another image's build
    saves little: with other system libraries below it, the torch row is made and unpacked anew.
    """
    if rebuild:
        return REBUILD_BYTES
    content = COMMON_BYTES + int(torch_gigabytes * GB) + int(further * GB)
    return (CONTAINERD_COPIES if containerd_store else COPIES) * content


def require_room(folder: Path, needed: int, what: str, otherwise: str) -> None:
    """Raise `NotPossibleError` when `folder` has fewer than `needed` bytes free for `what`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NotPossibleError(
            f"{folder} has {free / GB:.1f} GB free, {what} needs about {needed / GB:.1f} GB",
            remedy=f"free space there{otherwise}",
        )


def require_space(engine: Engine, needed: int) -> None:
    """Raise `NotPossibleError` when the engine's data root has fewer than `needed` bytes free.

    An engine on another machine cannot be asked: its data root does not exist here.
    """
    root = Path(engine.data_root)
    if not root.is_dir():
        return
    otherwise = " (`docker builder prune`, `docker image prune`), or move that folder"
    require_room(root, needed, "the build", otherwise)
