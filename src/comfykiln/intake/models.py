"""The models that a document names: those that an image can have, and why not the others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfykiln.models.document import parse
from comfykiln.models.fromdocuments import from_environment
from comfykiln.parsing.faults import FaultyDocumentError, Note
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfykiln.environment import Environment
    from comfykiln.models.records import ModelEntry

_PLACE = re.compile(r"\$\.models\[(\d+)\]")


def choose(environment: Environment) -> tuple[tuple[ModelEntry, ...], tuple[Note, ...]]:
    """Return the models that a list may hold, and what is said of those that it may not.

    The rules are those of models.yaml, so that what is left out is told with the same words: a
    pickle that nobody gave a reason for, two models for one place.
    """
    named = from_environment(environment)
    notes = [Note(path="models", rule="from.model", message=note) for note in named.notes]
    entries = named.entries
    try:
        parse(as_file(entries), "models.yaml")
    except FaultyDocumentError as error:
        bad = {
            int(match[1]): record
            for record in error.records
            if (match := _PLACE.match(record.path))
        }
        if not bad:
            raise
        for index, fault in sorted(bad.items()):
            message = f"{entries[index].destination}: left out: {fault.problem}"
            notes.append(Note(path="models", rule=fault.rule, message=message))
        entries = tuple(entry for index, entry in enumerate(entries) if index not in bad)
        parse(as_file(entries), "models.yaml")
    return entries, tuple(notes)


def as_file(entries: Sequence[ModelEntry]) -> bytes:
    """Return the entries as a models.yaml; JSON is YAML."""
    listed = [
        {
            "name": entry.name,
            "destination": entry.destination,
            "criticality": entry.criticality,
            "sources": [source.data() for source in entry.sources],
            "sha256": entry.sha256,
            "size": entry.size,
        }
        for entry in entries
    ]
    return files.canonical_json({"models": listed})
