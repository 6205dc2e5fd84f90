"""Custom nodes that are single files: ComfyUI's own, or those that lie beside the snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeFile:
    """A file below custom_nodes: where it lies now, its sha256, whether it is not to be imported.

    `own` says that the pinned ComfyUI brings it.
    """

    name: str
    path: Path
    sha256: str
    disabled: bool
    own: bool

    @property
    def module(self) -> str:
        """The name under which ComfyUI registers its classes."""
        return self.name.removesuffix(".py")


def find_files(
    wanted: Sequence[tuple[str, bool]], comfyui: Path, folder: Path
) -> tuple[NodeFile, ...]:
    """Return every file of the snapshot; `folder` holds those that ComfyUI does not bring.

    Raises `DocumentError` for files that are nowhere, that both have, and that `folder` has beyond
    the snapshot.
    """
    names = {name for name, _ in wanted}
    faults = list(_faults(names, comfyui, folder))
    if faults:
        raise DocumentError(
            f"{len(faults)} file(s) below custom_nodes are not available as the snapshot says",
            faults=sorted(faults),
            remedy=f"put the file into {folder}, or take its entry out of file_custom_nodes",
        )
    return tuple(_file(name, off, comfyui, folder) for name, off in wanted)


def _file(name: str, disabled: bool, comfyui: Path, folder: Path) -> NodeFile:  # noqa: FBT001  # as the snapshot has it
    theirs = comfyui / "custom_nodes" / name
    own = theirs.is_file()
    path = theirs if own else folder / name
    return NodeFile(
        name=name, path=path, sha256=files.sha256_file(path), disabled=disabled, own=own
    )


def _faults(names: set[str], comfyui: Path, folder: Path) -> Iterator[str]:
    for name in sorted(names):
        own, ours = (comfyui / "custom_nodes" / name).is_file(), (folder / name).is_file()
        if own and ours:
            yield f"{name}: ComfyUI brings this file, and so does {folder}"
        elif not own and not ours:
            yield f"{name}: neither ComfyUI nor {folder} has this file, and a snapshot holds none"
    there = {path.name for path in folder.glob("*.py")} if folder.is_dir() else set()
    yield from (f"{name}: is in {folder}, not in the snapshot" for name in there - names)
