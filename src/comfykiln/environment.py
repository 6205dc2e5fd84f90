"""The one model of a ComfyUI environment, which every document maps to and is written from.

Everything is frozen. `None` and empty tuples mean "the document does not say".
Two environments are equal when they mean the same: places and raw spelling do not count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

NodeSource = Literal["git", "registry", "archive", "local", "file", "development"]
PackageSource = Literal["index", "git", "url", "local", "editable"]
Criticality = Literal["required", "flexible", "optional"]
WorkflowFormat = Literal["ui", "api"]

COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(text: str | None) -> bool:
    """Say whether `text` is a whole commit: 40 lower-case hex digits and nothing else."""
    return text is not None and COMMIT.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Extra:
    """A value that a document carries and that has no place in the model, kept for its own format.

    `path` is the key inside the document (`timestamp`, `nodes.my-node.color`), `json` its value.
    """

    kind: str
    path: str
    json: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ComfyUISpec:
    """Which ComfyUI: `version` a tag (`v0.3.64`), `commit` 40 hex digits, `branch` a moving name.

    More than one may be set; `commit` then decides. `ref` holds what is none of these,
    such as a commit abbreviated to seven digits.
    """

    version: str | None = None
    commit: str | None = None
    branch: str | None = None
    ref: str | None = None
    repository: str | None = None

    @property
    def wanted(self) -> str | None:
        """What is to be checked out: the commit where known, else the most precise name."""
        return self.commit or self.version or self.ref or self.branch


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemSpec:
    """What the environment runs on.

    `python` is as written, `3.11.7` or `3.11`; `requires_python` a range such as `>=3.11`.
    `cuda` is `12.1` or None; `cuda_stated` tells "no CUDA" (True, None) from "not said".
    `platform` is linux, darwin or win32; `architecture` x86_64 or arm64.
    """

    python: str | None = None
    requires_python: str | None = None
    platform: str | None = None
    architecture: str | None = None
    cuda: str | None = None
    cuda_stated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Submodule:
    """A git submodule of a node: where it is mounted, where it comes from, its commit."""

    path: str
    url: str
    commit: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A custom node: a folder or, with source `file`, a single file below `custom_nodes/`.

    `name` is that folder's or file's name.
    `url` is the repository (git, development), the archive (archive), the folder (local), or the
    repository of a registry node where known. `ref` is a branch, tag or abbreviated commit as the
    document writes it; `commit` is the pin. `version` belongs to registry nodes, as does
    `registry_id`. `sha256` is that of the archive's bytes.
    Flags that are None were not stated. `install_order`: lower goes first.
    `identifier` is the key under which an export lists the node, where it is not `name`.
    """

    name: str
    source: NodeSource
    url: str | None = None
    ref: str | None = None
    commit: str | None = None
    registry_id: str | None = None
    version: str | None = None
    disabled: bool = False
    sha256: str | None = None
    download_url: str | None = None
    fallback_url: str | None = None
    has_requirements: bool | None = None
    has_post_install: bool | None = None
    install_order: int | None = None
    criticality: Criticality | None = None
    dependency_sources: tuple[str, ...] = ()
    submodules: tuple[Submodule, ...] = ()
    identifier: str | None = None
    extras: tuple[Extra, ...] = ()
    place: str = field(default="", compare=False)

    @property
    def wanted(self) -> str | None:
        """What is to be installed: the commit, else the version, else the moving name."""
        return self.commit or self.version or self.ref


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A Python distribution. `name` is as written; compare names in their normalised form.

    `version` is exact (`1.2.3`, without `==`), `specifier` a range (`>=1.2,<2`).
    `url` is a repository without `git+` and ref (git), a wheel or archive (url, local as `file:`);
    `path` a folder or file of the machine that wrote the document (local, editable).
    An unnamed editable or git package has an empty name.
    `group` is the dependency group it belongs to, None for the environment itself.
    """

    name: str
    source: PackageSource = "index"
    version: str | None = None
    specifier: str | None = None
    extras: tuple[str, ...] = ()
    marker: str | None = None
    url: str | None = None
    ref: str | None = None
    subdirectory: str | None = None
    path: str | None = None
    sha256: str | None = None
    group: str | None = None
    unknown: tuple[Extra, ...] = ()
    place: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchSpec:
    """The torch family: full `version` (`2.1.0+cu121`), uv's `backend` name, `index_url`.

    `packages` are the family's own pins as the document lists them (torch, torchvision, …).
    """

    version: str | None = None
    backend: str | None = None
    index_url: str | None = None
    packages: tuple[Package, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """A package index beside the default one. `explicit`: only for packages that name it."""

    url: str
    name: str | None = None
    explicit: bool = False
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolution:
    """What bends the solving of packages: requirement lines, in the words of uv's settings.

    `substitutions` are (asked for, installed instead) pairs.
    """

    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    substitutions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformOverride:
    """What differs on one platform, `linux` or `linux-x86_64`; `environment` are (name, value)."""

    platform: str
    packages: tuple[Package, ...] = ()
    excludes: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    extras: tuple[Extra, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Digest:
    """A checksum: `algorithm` in lower case (`sha256`, `blake3`, `autov2`, `crc32`, …).

    `sampled-blake3` and `sampled-xxhash` are the 16 digits that comfydock and comfygit compute over
    samples of a file: a hint for finding it, no proof of its content.
    """

    algorithm: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """Where a model is available: the `url` of its bytes, and what its hub says of it."""

    url: str
    page: str | None = None
    hub: str | None = None
    repository: str | None = None
    revision: str | None = None
    path: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WidgetUse:
    """The widget of a workflow's node that names a model; `index` counts from 0."""

    node_id: str
    node_type: str
    index: int
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelUse:
    """What one workflow says of a model: how much it needs it and which widgets name it."""

    workflow: str
    criticality: Criticality | None = None
    status: str | None = None
    widgets: tuple[WidgetUse, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model file. `paths` are below the ComfyUI folder (`models/checkpoints/x.safetensors`).

    Several paths hold the same bytes; none means that only the file's name is known.
    `category` is the folder kind (`checkpoints`), `kind` a document's own word (`checkpoint`),
    `label` a name for people. `size` is in bytes. Sources are in the order to try them.
    """

    filename: str
    paths: tuple[str, ...] = ()
    category: str | None = None
    kind: str | None = None
    label: str | None = None
    size: int | None = None
    digests: tuple[Digest, ...] = ()
    sources: tuple[ModelSource, ...] = ()
    criticality: Criticality | None = None
    disabled: bool = False
    uses: tuple[ModelUse, ...] = ()
    extras: tuple[Extra, ...] = ()
    place: str = field(default="", compare=False)

    def digest(self, algorithm: str) -> str | None:
        """Return the checksum by `algorithm`, None when the document has none."""
        return next((d.value for d in self.digests if d.algorithm == algorithm), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Workflow:
    """A workflow: its bytes exactly as found, and what they need.

    `node_types` are the types used, sorted, core ones left out where they are known as such;
    `packs` the names of the nodes that provide them; `unresolved` the types no known pack provides.
    `node_map` are (type, pack) pairs, with None for a type that may be missing.
    `path` is where an export keeps it.
    """

    name: str
    data: bytes
    format: WorkflowFormat = "ui"
    path: str | None = None
    node_types: tuple[str, ...] = ()
    packs: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()
    node_map: tuple[tuple[str, str | None], ...] = ()
    extras: tuple[Extra, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Attachment:
    """A file that travels with the environment: `path` with `/`, relative to the export's root.

    Development nodes' code (`dev_nodes/<name>/…`), `uv.lock`, overlays.
    """

    path: str
    data: bytes
    executable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """Which environment variable holds the credential for a host; never the credential itself."""

    host: str
    variable: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """How the document came about: for people only, nothing is built from it."""

    generated_at: str | None = None
    generator_version: str | None = None
    source_path: str | None = None
    capture_duration_ms: float | None = None
    state: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """A whole ComfyUI environment."""

    name: str | None = None
    comfyui: ComfyUISpec = ComfyUISpec()
    system: SystemSpec = SystemSpec()
    torch: TorchSpec = TorchSpec()
    nodes: tuple[Node, ...] = ()
    packages: tuple[Package, ...] = ()
    models: tuple[Model, ...] = ()
    workflows: tuple[Workflow, ...] = ()
    indexes: tuple[Index, ...] = ()
    resolution: Resolution = Resolution()
    platform_overrides: tuple[PlatformOverride, ...] = ()
    credentials: tuple[Credential, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    metadata: Metadata = Metadata()
    extras: tuple[Extra, ...] = ()
