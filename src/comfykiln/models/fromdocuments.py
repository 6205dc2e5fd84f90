"""The models that workflows, export tarballs and other documents name, as entries of the list."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from comfykiln.models.document import check_destinations, digest_of
from comfykiln.models.records import ModelEntry, ModelList, ModelSource
from comfykiln.models.sources.addresses import check_address, normal_address
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.schemes import is_local
from comfykiln.parsing.values import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfykiln.environment import Criticality, Environment, Model

_LEVELS: tuple[Criticality, ...] = ("required", "flexible", "optional")


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """The models of a document; `notes` say which of them cannot be in the list, and why."""

    entries: tuple[ModelEntry, ...]
    notes: tuple[str, ...] = ()


def from_environment(environment: Environment) -> Named:
    """Return what a document's environment names, ready to be locked and fetched.

    Addresses of Hugging Face and CivitAI become `hf://` and `civitai:`, so that tokens and hashes
    of these hubs are used. The strongest criticality that any workflow states counts, `flexible`
    where none does. A pickle format gets no reason from here: models.yaml alone can allow one.
    """
    entries: dict[str, ModelEntry] = {}
    notes = []
    for model in environment.models:
        destinations = _destinations(model)
        if model.disabled:
            notes.append(f"{model.filename}: disabled in the document")
        elif not destinations:
            notes.append(f"{model.filename}: nothing says which folder it belongs to")
        for destination in () if model.disabled else destinations:
            entry = _entry(model, destination, notes)
            known = entries.get(destination)
            entries[destination] = _merged(known, entry, notes) if known else entry
    return Named(entries=tuple(_named_apart(entries.values())), notes=tuple(notes))


def combined(models: ModelList, named: Iterable[ModelEntry]) -> ModelList:
    """Return `models` with the entries that a document names in addition.

    Where both have a destination, models.yaml decides and gains the document's sources behind its
    own. Raises `FaultyDocumentError` when two destinations clash.
    """
    notes: list[str] = []
    entries = {entry.destination: entry for entry in models.entries}
    for entry in named:
        known = entries.get(entry.destination)
        entries[entry.destination] = _merged(known, entry, notes) if known else entry
    faults = Faults(str(models.path))
    check_destinations(((entry, f"the model {entry!r}") for entry in entries), faults)
    faults.stop()
    found = tuple(_named_apart(entries.values()))
    return ModelList(path=models.path, entries=found, digest=digest_of(found))


def _destinations(model: Model) -> list[str]:
    found = [path.removeprefix("models/") for path in model.paths if path.startswith("models/")]
    found = [path for path in found if "/" in path]
    if not found and not model.paths and model.category:
        found = [f"{model.category}/{model.filename}"]
    return found


def _entry(model: Model, destination: str, notes: list[str]) -> ModelEntry:
    sha256 = (model.digest("sha256") or "").lower()
    pinned = re.fullmatch(r"[0-9a-f]{64}", sha256) is not None
    sources = []
    for source in model.sources:
        url = normal_address(source.url)
        faults = Faults(model.filename)
        if is_local(url) and not pinned:
            notes.append(f"{destination}: {shown(url)} is a file of another machine: left out")
        elif check_address(url, destination, faults, pinned=pinned):
            sources.append(ModelSource(url=url))
        else:
            notes += [str(fault) for fault in faults.records]
    return ModelEntry(
        name=model.filename,
        destination=destination,
        criticality=_criticality(model),
        sources=tuple(dict.fromkeys(sources)),
        sha256=sha256 if pinned else None,
        size=model.size,
    )


def _criticality(model: Model) -> Criticality:
    said = {model.criticality, *(use.criticality for use in model.uses)}
    return next((level for level in _LEVELS if level in said), "flexible")


def _merged(first: ModelEntry, second: ModelEntry, notes: list[str]) -> ModelEntry:
    """Return the first entry with what the second knows in addition."""
    if first.sha256 and second.sha256 and first.sha256 != second.sha256:
        notes.append(f"{first.destination}: two files are meant; {first.sha256} is taken")
        return first
    known = {source.url for source in first.sources}
    more = tuple(source for source in second.sources if source.url not in known)
    return replace(
        first,
        sources=(*first.sources, *more),
        sha256=first.sha256 or second.sha256,
        size=first.size if first.size is not None else second.size,
    )


def _named_apart(entries: Iterable[ModelEntry]) -> Iterable[ModelEntry]:
    """Yield the entries, those that share a name under their destination instead."""
    taken: set[str] = set()
    for entry in entries:
        name = entry.destination if entry.name in taken else entry.name
        taken.add(name)
        yield entry if name == entry.name else replace(entry, name=name)
