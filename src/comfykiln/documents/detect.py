"""Which kind of document something is, by what it holds; its name only settles ties."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NoReturn

from comfykiln.documents.formats import formats
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import refuse
from comfykiln.parsing.reading import load, value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from comfykiln.documents.formats import Format

_HEAD = 16
_TEXTS = ("", ".json", ".yaml", ".yml", ".lock")
_FOREIGN = (
    ("$.models.before_start", "a comfyui-api manifest of SaladTechnologies"),
    ("$.nodes.*.url", "a node list of comfystream"),
    ("$.models.*.url", "a model list of comfystream"),
    ("$[].repo", "a node list of cog-comfyui"),
    ("$.*.base_path", "an extra_model_paths file of ComfyUI"),
)


def detect(path: Path) -> Format:
    """Return the format of the document, folder or archive at `path`.

    Raises `DocumentError` when it is none that is known, naming what it seems to be.
    """
    if path.is_dir():
        return detect_folder(path)
    by_head = _by_head(_head(path), str(path)) if path.is_file() else None
    return by_head or detect_bytes(load(path), str(path))


def detect_folder(path: Path) -> Format:
    """Return the format of a folder, by the file that marks it."""
    known = [(found, found.folder) for found in formats() if found.folder]
    for found, folder in known:
        if folder.holds(path):
            return found
    marks = _either(f"a {folder.mark}" for _, folder in known)
    raise DocumentError(
        f"{path}: a folder without {marks}",
        remedy=f"name an unpacked {_either(found.title for found, _ in known)}, or a document",
    )


def detect_bytes(data: bytes, source: str) -> Format:
    """Return the format of a document by its bytes; archives and images by their first ones."""
    if by_head := _by_head(data[:_HEAD], source):
        return by_head
    suffix = PurePath(source).suffix
    if suffix not in _TEXTS and data.lstrip()[:1] not in (b"{", b"["):
        _refuse_kind(source, f"a {suffix} file")
    return detect_value(value(data, source, max_items=None), source)


def detect_value(document: Any, source: str) -> Format:
    """Return the format of a JSON or YAML document by its keys."""
    found = _by_keys(document) if isinstance(document, dict) else None
    if found is None:
        foreign = next((name for where, name in _FOREIGN if _holds(document, where)), "")
        _refuse_kind(source, foreign or ("an empty file" if document is None else ""))
    return found


def _by_keys(document: Mapping[str, Any]) -> Format | None:
    """Return the format that the surest of all signs tells."""
    signs = [(sign, found) for found in formats() for sign in found.signs]
    signs.sort(key=lambda pair: pair[0].rank)
    return next((found for sign, found in signs if sign.holds(document)), None)


def is_packed(path: Path) -> bool:
    """Say whether the file at `path` is an archive or an image, by its first bytes or its name."""
    return _by_head(_head(path), str(path)) is not None


def _by_head(head: bytes, source: str) -> Format | None:
    return next((found for found in formats() if found.head and found.head(head, source)), None)


def _refuse_kind(source: str, what: str) -> NoReturn:
    refuse(
        source,
        "$",
        "document.kind",
        f"this is {what}, which is not supported" if what else "no known kind of document",
        expected=f"a {_either(found.title for found in formats())}",
        remedy="convert it by hand, or check that it is the right file",
    )


def _either(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


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


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)
