"""What goes into an export tarball, and what comes out of making one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NodeSource = Literal["registry", "git", "development"]
Criticality = Literal["required", "flexible", "optional"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportNode:
    """A custom node of the image.

    `name` is its folder below `custom_nodes/`; `commit` (40 hex digits) pins a git node, `version`
    a registry node. `requirements` are its own requirement lines; those of a development node are
    read from its `requirements.txt`.
    """

    name: str
    source: NodeSource
    version: str | None = None
    repository: str | None = None
    commit: str | None = None
    registry_id: str | None = None
    download_url: str | None = None
    requirements: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportModel:
    """A model file that the environment uses; it is named in the tarball, never inside it.

    `relative_path` is below ComfyUI's `models` folder, `size` in bytes, `sources` URLs in the
    order to try them, `used_by` the file names of workflows. One that is not `in_image` is a
    download intent: it is yet to be fetched from its sources.
    """

    filename: str
    category: str
    relative_path: str
    sha256: str
    size: int
    sources: Sequence[str] = ()
    criticality: Criticality = "flexible"
    used_by: Sequence[str] = ()
    in_image: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportInput:
    """One tagged image, as far as its recipe goes.

    `image`, `target`, `tag` are the parts of `comfykiln/<image>:<target>-<tag>`; `image_digest` is
    `sha256:` and 64 hex digits.
    `python` is the image's minor version (`3.13`). `torch` maps the torch family's names to the
    versions that are really in the image, local tag included (`2.13.0+cpu`); without a local tag
    they came from the package index. `torch_index` is the target's own index.
    `dependencies` are requirement lines without the torch family, `locked` the `name==version` of
    every package in the image. `dev_nodes` maps names to folders with source, `workflows` file
    names to JSON. `epoch` (Unix seconds) is the time of every member. `overrides` are requirement
    lines that replace every other one of their package.
    """

    image: str
    target: str
    tag: str
    image_digest: str
    comfyui_version: str
    comfyui_commit: str
    comfyui_repository: str
    python: str
    torch: Mapping[str, str]
    torch_backend: str
    torch_index: str | None
    dependencies: Sequence[str]
    locked: Sequence[str]
    epoch: int
    receipt: Mapping[str, Any]
    nodes: Sequence[ExportNode] = ()
    dev_nodes: Mapping[str, Path] = field(default_factory=dict)
    workflows: Mapping[str, bytes] = field(default_factory=dict)
    models: Sequence[ExportModel] = ()
    overrides: Sequence[str] = ()

    @property
    def file_name(self) -> str:
        """The tarball's name: `core-cpu-v0.30.0-0123456789ab.tar.gz`."""
        return f"{self.image}-{self.target}-{self.tag}.tar.gz"

    @property
    def pinned_index(self) -> str | None:
        """The torch index, where the torch in the image really came from it; else None."""
        from_index = any("+" in version for version in self.torch.values())
        return self.torch_index if from_index else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """A tarball on disk: its `sha256` is also in the file `<path>.sha256`, `size` is in bytes.

    `changed` is False where the same bytes were there already.
    """

    path: Path
    sha256: str
    size: int
    members: tuple[str, ...]
    changed: bool
