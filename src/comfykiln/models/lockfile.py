"""models.lock: every model's exact bytes, written beside models.yaml and tied to it by a digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfykiln.errors import DriftError
from comfykiln.models.document import load_models, parse_source
from comfykiln.models.records import LockedModel
from comfykiln.oci.layers import LAYER_FORMAT
from comfykiln.parsing import shape
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.fields import Obj
from comfykiln.parsing.reading import json_value, load
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from comfykiln.models.records import Image, ModelEntry, ModelList

NAME = "models.lock"
FORMAT = 1
_CONFLICT = b"<<<<<<< "


def lock_path(models: ModelList) -> Path:
    """Return where the lock of a models.yaml lies."""
    return models.path.with_name(NAME)


def load_lock(service: Image) -> tuple[LockedModel, ...]:
    """Return the locked models of an image, none where it has no models.yaml.

    Raises `DriftError` (exit code 4) when models.yaml has changed since, or was never locked.
    """
    models = load_models(service)
    return checked_lock(models) if models.entries else ()


def checked_lock(models: ModelList) -> tuple[LockedModel, ...]:
    """Return what models.lock has, if it belongs to `models` as they are now."""
    path = lock_path(models)
    remedy = "run ./kiln models.lock and commit models.lock"
    if not path.exists():
        raise DriftError(f"{path} is missing", remedy=remedy)
    locked, tie = read_lock(path)
    if tie != models.digest:
        raise DriftError(
            f"{path} does not belong to {models.path.name} as it is now: "
            f"{_difference(models.entries, locked)}",
            remedy=remedy,
        )
    return _joined(models, locked, path)


def read_lock(path: Path) -> tuple[tuple[LockedModel, ...], str]:
    """Return the entries of a models.lock and the digest of the models.yaml it was made from.

    Layer digests of other packing rules than today's are left out. Raises `FaultyDocumentError`, or
    `DriftError` for a merge that git could not do.
    """
    data = load(path)
    if data.startswith(_CONFLICT) or b"\n" + _CONFLICT in data:
        raise DriftError(
            f"{path} has the marks of a merge that was not resolved",
            remedy=f"take one side of it (git checkout --ours {path.name}, or --theirs), then run "
            "./kiln models.lock",
        )
    value = json_value(data, str(path))
    faults = Faults(str(path))
    shape.check(value, "models-lock", faults)
    faults.stop()
    document = Obj(value)
    current = document.text("layer_format") == LAYER_FORMAT
    entries = tuple(_entry(entry, path, current=current) for entry in document.objs("models"))
    return entries, document.text("models_yaml") or ""


def write_lock(models: ModelList, locked: Sequence[LockedModel]) -> Path:
    """Write models.lock whole or not at all, equal bytes for equal contents."""
    value = {
        "format": FORMAT,
        "layer_format": LAYER_FORMAT,
        "models_yaml": models.digest,
        "models": [_data(model) for model in locked],
    }
    path = lock_path(models)
    files.write_bytes(path, files.canonical_json(value))
    return path


def _entry(entry: Obj, path: Path, *, current: bool) -> LockedModel:
    criticality: Any = entry.text("criticality")
    return LockedModel(
        name=entry.text("name") or "",
        destination=entry.text("destination") or "",
        criticality=criticality,
        sources=tuple(parse_source(member, path.parent) for member, _ in entry.members("sources")),
        sha256=entry.text("sha256") or "",
        size=entry.whole("size") or 0,
        version=entry.text("version") or "",
        layer=(entry.text("layer") or "") if current else "",
        source=entry.text("source") or "",
        licence=entry.text("licence") or "",
        pickle_reason=entry.text("pickle_reason"),
    )


def _data(model: LockedModel) -> dict[str, Any]:
    told = {
        "name": model.name,
        "destination": model.destination,
        "criticality": model.criticality,
        "sources": [source.data() for source in model.sources],
        "sha256": model.sha256,
        "size": model.size,
        "version": model.version,
        "layer": model.layer,
        "source": model.source,
        "licence": model.licence,
        "pickle_reason": model.pickle_reason,
    }
    optional = ("licence", "pickle_reason", "source")
    return {key: value for key, value in told.items() if value or key not in optional}


def _joined(
    models: ModelList, locked: Sequence[LockedModel], path: Path
) -> tuple[LockedModel, ...]:
    """Return the locked models, of which what models.yaml says must be what it says."""
    entries = {entry.name: entry for entry in models.entries}
    wrong = [model.name for model in locked if not _agrees(entries.get(model.name), model)]
    if wrong:
        raise DriftError(
            f"{path} was changed by hand: {', '.join(wrong)}",
            remedy="run ./kiln models.lock and commit models.lock",
        )
    return tuple(locked)


def _agrees(entry: ModelEntry | None, model: LockedModel) -> bool:
    return (
        entry is not None
        and entry.destination == model.destination
        and entry.criticality == model.criticality
        and entry.sources == model.sources
        and entry.pickle_reason == model.pickle_reason
        and entry.sha256 in (None, model.sha256)
        and entry.size in (None, model.size)
    )


def _difference(entries: Sequence[ModelEntry], locked: Sequence[LockedModel]) -> str:
    """Say which models differ, by name."""
    there = {model.name: model for model in locked}
    changed = [
        entry.name
        for entry in entries
        if entry.name not in there or not _agrees(entry, there[entry.name])
    ]
    gone = there.keys() - {entry.name for entry in entries}
    words = [f"changed {', '.join(changed)}"] if changed else []
    words += [f"removed {', '.join(sorted(gone))}"] if gone else []
    return "; ".join(words) or "their order changed"
