"""The `manifest.json` of an export: which image it describes, and the digest of every file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from comfykiln import __version__
from comfykiln.errors import DocumentError
from comfykiln.export.records import ExportModel, ExportNode
from comfykiln.plan import datafiles
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from comfykiln.export.records import ExportInput
    from comfykiln.export.uvlock import Lock

FORMAT_VERSION: Final = 1
NAME: Final = "manifest.json"
RECEIPT: Final = "receipt.json"
SCHEMA: Final = "export-manifest"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """A file of the tarball: sha256 as 64 hex digits, size in bytes."""

    sha256: str
    size: int
    executable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a tarball says of itself; fields as in `ExportInput` and in the JSON schema.

    `torch_origin` is `torch-index` or `package-index`; `hidden_indexes` counts the private package
    indexes whose addresses were taken out of `uv.lock`; `receipt` is the sha256 of `receipt.json`.
    """

    tool: str
    tool_version: str
    image: str
    target: str
    tag: str
    image_digest: str
    epoch: int
    comfyui_version: str
    comfyui_commit: str
    comfyui_repository: str
    python: str
    torch: Mapping[str, str]
    torch_backend: str
    torch_index: str | None
    torch_origin: str
    uv: str
    packages: int
    hidden_indexes: int
    nodes: tuple[ExportNode, ...]
    models: tuple[ExportModel, ...]
    workflows: tuple[str, ...]
    receipt: str
    files: Mapping[str, FileRecord]


def describe(
    what: ExportInput, lock: Lock, members: Mapping[str, bytes], executable: Collection[str]
) -> Manifest:
    """Return the manifest of a tarball with `members`, `manifest.json` itself not among them."""
    return Manifest(
        tool="comfykiln",
        tool_version=__version__,
        image=what.image,
        target=what.target,
        tag=what.tag,
        image_digest=what.image_digest,
        epoch=what.epoch,
        comfyui_version=what.comfyui_version,
        comfyui_commit=what.comfyui_commit,
        comfyui_repository=what.comfyui_repository,
        python=what.python,
        torch=dict(what.torch),
        torch_backend=what.torch_backend,
        torch_index=what.torch_index,
        torch_origin="package-index" if what.pinned_index is None else "torch-index",
        uv=lock.uv,
        packages=lock.packages,
        hidden_indexes=lock.hidden,
        nodes=tuple(sorted(what.nodes, key=lambda node: node.name)),
        models=tuple(what.models),
        workflows=tuple(sorted(what.workflows)),
        receipt=files.sha256(members[RECEIPT]),
        files=records(members, executable),
    )


def records(members: Mapping[str, bytes], executable: Collection[str]) -> dict[str, FileRecord]:
    """Return the record of every member but the manifest."""
    return {
        name: FileRecord(sha256=files.sha256(data), size=len(data), executable=name in executable)
        for name, data in members.items()
        if name != NAME
    }


def write(manifest: Manifest) -> bytes:
    """Return the manifest as JSON, equal bytes for equal manifests."""
    return files.canonical_json({
        "format_version": FORMAT_VERSION,
        "tool": {"name": manifest.tool, "version": manifest.tool_version},
        "image": manifest.image,
        "target": manifest.target,
        "tag": manifest.tag,
        "image_digest": manifest.image_digest,
        "epoch": manifest.epoch,
        "comfyui": {
            "version": manifest.comfyui_version,
            "commit": manifest.comfyui_commit,
            "repository": manifest.comfyui_repository,
        },
        "python": manifest.python,
        "torch": {
            "backend": manifest.torch_backend,
            "index": manifest.torch_index,
            "origin": manifest.torch_origin,
            "packages": dict(manifest.torch),
        },
        "lock": {
            "uv": manifest.uv,
            "packages": manifest.packages,
            "hidden_indexes": manifest.hidden_indexes,
        },
        "nodes": [dataclasses.asdict(node) for node in manifest.nodes],
        "models": [dataclasses.asdict(model) for model in manifest.models],
        "workflows": list(manifest.workflows),
        "receipt": manifest.receipt,
        "files": {name: dataclasses.asdict(record) for name, record in manifest.files.items()},
    })  # fmt: skip


def read(data: bytes, source: str) -> Manifest:
    """Return the manifest in `data`; `source` names it in messages.

    Raises `DocumentError` with every fault, and for a format newer than this program knows.
    """
    value = _checked(data, source)
    return Manifest(
        tool=value["tool"]["name"],
        tool_version=value["tool"]["version"],
        image=value["image"],
        target=value["target"],
        tag=value["tag"],
        image_digest=value["image_digest"],
        epoch=value["epoch"],
        comfyui_version=value["comfyui"]["version"],
        comfyui_commit=value["comfyui"]["commit"],
        comfyui_repository=value["comfyui"]["repository"],
        python=value["python"],
        torch=value["torch"]["packages"],
        torch_backend=value["torch"]["backend"],
        torch_index=value["torch"]["index"],
        torch_origin=value["torch"]["origin"],
        uv=value["lock"]["uv"],
        packages=value["lock"]["packages"],
        hidden_indexes=value["lock"]["hidden_indexes"],
        nodes=tuple(ExportNode(**_tuples(node)) for node in value["nodes"]),
        models=tuple(ExportModel(**_tuples(model)) for model in value["models"]),
        workflows=tuple(value["workflows"]),
        receipt=value["receipt"],
        files={name: FileRecord(**record) for name, record in value["files"].items()},
    )


def _checked(data: bytes, source: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{source}: not JSON: {error}", remedy=_REMEDY) from error
    found = value.get("format_version") if isinstance(value, dict) else None
    if isinstance(found, int) and found > FORMAT_VERSION:
        raise DocumentError(
            f"{source}: format_version {found} is newer than this comfykiln knows",
            remedy="update comfykiln",
        )
    if faults := datafiles.schema_faults(value, SCHEMA):
        raise DocumentError(f"{source}: not a manifest", faults=faults, remedy=_REMEDY)
    checked: dict[str, Any] = value
    return checked


def _tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in record.items()
    }


_REMEDY: Final = "ask the sender for the tarball again; this one was changed or cut"
