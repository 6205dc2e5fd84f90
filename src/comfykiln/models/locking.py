"""From models.yaml to models.lock: each model had once, its bytes written down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError, KilnError
from comfykiln.models import store, surroundings
from comfykiln.models.download import Job, download_all
from comfykiln.models.inspecting import problem_of
from comfykiln.models.layers import layer_digest
from comfykiln.models.lockfile import lock_path, read_lock
from comfykiln.models.records import Failed, Fetched, LockedModel
from comfykiln.models.sources.find import find, licence_of
from comfykiln.system import console
from comfykiln.transfer.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfykiln.models.progress import Shown
    from comfykiln.models.records import ModelEntry, ModelList

EVERY = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """What locking gave: the models, and those left out because they are needed by nobody."""

    models: tuple[LockedModel, ...]
    left_out: tuple[Failed, ...]


def lock_models(
    models: ModelList,
    *,
    upgrade: Sequence[str] = (),
    shown: Shown | None = None,
    environ: Mapping[str, str] | None = None,
) -> Locked:
    """Return the lock of `models`; only what changed, or is named in `upgrade`, is asked for again.

    Whatever is not in the store is fetched, since nothing else tells the digests. A model that
    is not available is left out unless it is required. Raises `KilnError` that names every required
    model that is not available, `DocumentError` for a name in `upgrade` that is none.
    """
    environ = surroundings.of_host(environ)
    _known(models, upgrade)
    path = lock_path(models)
    before = {model.name: model for model in (read_lock(path)[0] if path.exists() else ())}
    kept = {
        entry.name: before[entry.name]
        for entry in models.entries
        if not {EVERY, entry.name} & set(upgrade) and _stands(entry, before.get(entry.name))
    }
    jobs = [_job(entry, kept.get(entry.name)) for entry in models.entries]
    todo = [job for job in jobs if job.name not in kept or _moved(job, kept[job.name])]
    results = download_all(todo, environ, shown)
    failed = [result for result in results.values() if isinstance(result, Failed)]
    _refuse([entry for entry in failed if entry.criticality == "required"])
    locked = []
    with surroundings.handed_over(environ):
        for entry in models.entries:
            found = results.get(entry.name)
            if isinstance(found, Fetched):
                locked.append(_locked(entry, found, kept.get(entry.name), environ))
            elif found is None:
                locked.append(_described(entry, kept[entry.name]))
    return Locked(models=tuple(locked), left_out=tuple(failed))


def _known(models: ModelList, upgrade: Sequence[str]) -> None:
    names = {entry.name for entry in models.entries} | {EVERY}
    unknown = sorted(set(upgrade) - names)
    if unknown:
        raise DocumentError(
            f"--upgrade names no model of {models.path}: {', '.join(unknown)}",
            remedy=f"use one of: {', '.join(sorted(names))}",
        )


def _stands(entry: ModelEntry, before: LockedModel | None) -> bool:
    """Tell whether the bytes that were locked before are still those that are meant."""
    if before is None or entry.size not in (None, before.size):
        return False
    if entry.sha256 is not None:
        return entry.sha256 == before.sha256
    return entry.sources == before.sources


def _moved(job: Job, before: LockedModel) -> bool:
    """Tell whether a layer digest is needed that the old lock does not have."""
    return layer_is_needed(before) and (not before.layer or job.destination != before.destination)


def layer_is_needed(model: LockedModel) -> bool:
    """Tell whether the model is large enough for a layer of its own."""
    from comfykiln.models.hashing import has_own_layer  # noqa: PLC0415  # hashing threads, rarely

    return has_own_layer(model.size)


def _job(entry: ModelEntry, before: LockedModel | None) -> Job:
    return Job(
        name=entry.name,
        destination=entry.destination,
        criticality=entry.criticality,
        sources=entry.sources,
        sha256=entry.sha256 or (before.sha256 if before else ""),
        size=before.size if before else entry.size,
        source=before.source if before else "",
        version=before.version if before else "",
        pickle_allowed=entry.pickle_reason is not None,
    )


def _refuse(failed: Sequence[Failed]) -> None:
    if not failed:
        return
    lines = [f"  {entry.name}" + "".join(f"\n    {r}" for r in entry.reasons) for entry in failed]
    raise KilnError(
        f"{len(failed)} required model(s) are not available:\n" + "\n".join(lines),
        remedy="fix the sources, add one with ./kiln models.add-source, or lower the criticality",
    )


def _locked(
    entry: ModelEntry, found: Fetched, before: LockedModel | None, environ: Mapping[str, str]
) -> LockedModel:
    """Return the entry with what was found, which was looked into too."""
    problem = problem_of(
        store.path_of(found.sha256),
        entry.destination,
        pickle_allowed=entry.pickle_reason is not None,
    )
    if problem:
        raise KilnError(f"{entry.name} is refused: {problem}", remedy="use another source of it")
    if entry.sha256 is None and before is None:
        word = "as its hub states it" if found.told_sha256 else "as it came, at this first use"
        console.note(f"{entry.name}: sha256 {found.sha256} recorded {word}")
    if before is not None:
        layer = layer_digest(found.sha256, entry.destination, found.size)
        return replace(_described(entry, before), layer=layer)
    source, version = found.source, found.version
    if not source:
        source, version = _where(entry, found.sha256, environ)
    return LockedModel(
        name=entry.name,
        destination=entry.destination,
        criticality=entry.criticality,
        sources=entry.sources,
        sha256=found.sha256,
        size=found.size,
        version=version,
        layer=layer_digest(found.sha256, entry.destination, found.size),
        source=source,
        licence=_licence(entry, environ),
        pickle_reason=entry.pickle_reason,
    )


def _described(entry: ModelEntry, before: LockedModel) -> LockedModel:
    """Return what the lock had, with what models.yaml says of it today."""
    return replace(
        before,
        name=entry.name,
        destination=entry.destination,
        criticality=entry.criticality,
        sources=entry.sources,
        pickle_reason=entry.pickle_reason,
    )


def _where(entry: ModelEntry, sha256: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the first source that answers and its version, for a file that was here already."""
    for source in entry.sources:
        try:
            return source.url, find(source, environ, sha256=sha256).version
        except StorageError as error:
            console.note(f"{entry.name}: {source.url}: {error.message}")
    return "", ""


def _licence(entry: ModelEntry, environ: Mapping[str, str]) -> str:
    """Return what the first hub among the sources states, which no build depends on."""
    for source in entry.sources:
        try:
            if licence := licence_of(source, environ):
                return licence
        except StorageError as error:
            console.note(f"{entry.name}: licence not known: {error.message}")
    return ""
