"""Which kind of document something is, by what it holds; its name only settles ties."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NoReturn

from comfykiln.documents.kinds import Kind
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import refuse
from comfykiln.parsing.reading import load, value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HEAD = 16
_NODE_MAPS = ("git_custom_nodes", "cnr_custom_nodes", "file_custom_nodes")
_FOREIGN = (
    ("$.models.before_start", "a comfyui-api manifest of SaladTechnologies"),
    ("$.nodes.*.url", "a node list of comfystream"),
    ("$.models.*.url", "a model list of comfystream"),
    ("$[].repo", "a node list of cog-comfyui"),
    ("$.*.base_path", "an extra_model_paths file of ComfyUI"),
)


def detect(path: Path) -> Kind:
    """Return the kind of the document, folder or archive at `path`.

    Raises `DocumentError` when it is none that is known, naming what it seems to be.
    """
    if path.is_dir():
        return detect_folder(path)
    data = load(path) if not _is_binary(path) else _head(path)
    return detect_bytes(data, str(path))


def detect_folder(path: Path) -> Kind:
    """Return the kind of a folder: an export has a pyproject.toml, a comfy-pack a snapshot.json."""
    if (path / "pyproject.toml").is_file() or (path / ".git").exists() or _is_bare(path):
        return Kind.EXPORT
    if (path / "snapshot.json").is_file():
        return Kind.COMFYPACK
    raise DocumentError(
        f"{path}: a folder without a pyproject.toml or a snapshot.json",
        remedy="name an unpacked export or comfy-pack, or a document",
    )


def detect_bytes(data: bytes, source: str) -> Kind:
    """Return the kind of a document by its bytes; archives and images by their first ones."""
    if data.startswith(b"\x1f\x8b") or source.endswith((".tar", ".toml")):
        return Kind.EXPORT
    if data.startswith(b"PK\x03\x04"):
        return Kind.COMFYPACK
    if data.startswith(b"\x89PNG") or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return Kind.WORKFLOW
    suffix = PurePath(source).suffix
    if suffix not in ("", ".json", ".yaml", ".yml", ".lock") and data.lstrip()[:1] not in (
        b"{",
        b"[",
    ):
        _refuse_kind(source, f"a {suffix} file")
    return detect_value(value(data, source, max_items=None), source)


def detect_value(document: Any, source: str) -> Kind:
    """Return the kind of a JSON or YAML document by its keys."""
    kind = _by_keys(document) if isinstance(document, dict) else None
    if kind is None:
        foreign = next((name for where, name in _FOREIGN if _holds(document, where)), "")
        _refuse_kind(source, foreign or ("an empty file" if document is None else ""))
    return kind


def _refuse_kind(source: str, what: str) -> NoReturn:
    refuse(
        source,
        "$",
        "document.kind",
        f"this is {what}, which is not supported" if what else "no known kind of document",
        expected="a snapshot, migration manifest, comfy-lock, comfy-pack, workflow or export",
        remedy="convert it by hand, or check that it is the right file",
    )


def _by_keys(document: Mapping[str, Any]) -> Kind | None:
    nodes = document.get("custom_nodes")
    if "schema_version" in document or "system_info" in document:
        return Kind.MANIFEST
    if "snapshot_json" in document or any(key in document for key in _NODE_MAPS):
        return Kind.SNAPSHOT
    if _is_lock(document):
        return Kind.COMFYLOCK
    if isinstance(nodes, dict):
        return Kind.SNAPSHOT
    if isinstance(nodes, list) and not any(isinstance(node, str) for node in nodes):
        return Kind.COMFYPACK if "dependencies" not in document else Kind.MANIFEST
    return _by_other_keys(document)


def _by_other_keys(document: Mapping[str, Any]) -> Kind | None:
    """Tell the environment.json of an export from a workflow."""
    if isinstance(document.get("environment"), dict) and "format" in document:
        return Kind.EXPORT
    return Kind.WORKFLOW if _is_workflow(document) else None


def _is_lock(document: Mapping[str, Any]) -> bool:
    """Tell a comfy-lock from the rest: it lists settings or credentials, or models beside nodes."""
    if any(key in document for key in ("basic", "basics", "auth")):
        return True
    # Graphs have a list of models, too; so has a comfy-pack, whose nodes are a list.
    other = "nodes" in document or not isinstance(document.get("custom_nodes"), dict | None)
    return not other and isinstance(document.get("models"), list)


def _is_workflow(document: Mapping[str, Any]) -> bool:
    if isinstance(document.get("nodes"), list) or isinstance(document.get("prompt"), dict):
        return True
    members = [member for member in document.values() if isinstance(member, dict)]
    return bool(members) and any("class_type" in member for member in members)


def _holds(document: Any, where: str) -> bool:
    """Say whether something lies at a path such as `$.nodes.*.url` or `$[].repo`."""
    found = [document]
    for part in where.replace("[]", ".[]").split(".")[1:]:
        found = [member for entry in found for member in _members(entry, part)]
    return bool(found)


def _members(value: Any, part: str) -> list[Any]:
    if part == "[]":
        return value if isinstance(value, list) else []
    if not isinstance(value, dict):
        return []
    return list(value.values()) if part == "*" else [value[part]] if part in value else []


def _is_binary(path: Path) -> bool:
    head = _head(path)
    return head.startswith((b"\x1f\x8b", b"PK\x03\x04", b"\x89PNG", b"RIFF"))


def _is_bare(path: Path) -> bool:
    return (path / "HEAD").is_file() and (path / "objects").is_dir()


def _head(path: Path) -> bytes:
    """Return the first bytes of a regular file; whatever cannot be read is told by `load`."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(_HEAD)
