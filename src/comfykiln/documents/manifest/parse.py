"""The migration manifest, version 1.0: read into an `Environment`, and made smaller."""

from __future__ import annotations

from typing import Any

from comfykiln.documents.formats import Parsed
from comfykiln.documents.manifest import rules, torch
from comfykiln.documents.manifest.layout import KIND, SCHEMA
from comfykiln.documents.manifest.members import minimal, unknown_members
from comfykiln.documents.manifest.read import environment
from comfykiln.documents.manifest.rules import MAX_BYTES
from comfykiln.documents.manifest.write import compact, too_large
from comfykiln.parsing import shape
from comfykiln.parsing.faults import Faults, FaultyDocumentError
from comfykiln.parsing.fields import Obj
from comfykiln.parsing.reading import json_value
from comfykiln.parsing.values import shown

MAX_READ = 128 * 1024
"""Bytes beyond which only the size is told: thousands of faults would take more than a second."""


def parse(data: bytes, source: str) -> Parsed:
    """Return the environment that a manifest describes.

    Raises `FaultyDocumentError` with every fault: of size, syntax, shape and meaning.
    """
    faults = Faults(source)
    if len(data) > MAX_BYTES:
        _add_size(data, faults)
    value = _value(data, faults)
    faults.stop()
    _note_odd_members(value, faults)
    return Parsed(
        kind=KIND,
        source=source,
        environment=environment(Obj(minimal(value))),
        form="1.0",
        notes=tuple(faults.notes),
    )


def minimize(data: bytes, source: str) -> bytes:
    """Return the same manifest without what says nothing, on one line, keys in schema order.

    The result is a valid manifest and minimizes to itself; what version 1.0 requires stays, null
    or empty as it is. A manifest that is too large only before is accepted.
    Raises `DocumentError` for every fault, or when the result is still too large.
    """
    faults = Faults(source)
    manifest = minimal(_value(data, faults))
    faults.stop()
    result = compact(manifest)
    if len(result) > MAX_BYTES:
        raise too_large(manifest, len(result))
    parse(result, source)
    return result


def _value(data: bytes, faults: Faults) -> dict[str, Any]:
    """Return the manifest as JSON's types; every fault is in `faults` or raised with them."""
    if len(data) > MAX_READ:
        alone = Faults(faults.source)
        _add_size(data, alone)
        alone.stop()
    try:
        value = json_value(data, faults.source)
    except FaultyDocumentError as error:
        raise FaultyDocumentError(faults.source, [*faults.records, *error.records]) from error
    shape.check(value, SCHEMA, faults, rules="manifest")
    root = Obj(value)
    rules.check(root, faults)
    torch.check(root, faults)
    return root.value


def _add_size(data: bytes, faults: Faults) -> None:
    faults.add(
        "$",
        "manifest.size",
        f"the file has {len(data):,} bytes",
        expected=f"at most {MAX_BYTES:,}",
        remedy="run manifest.minimize, or leave packages to a lock beside it",
    )


def _note_odd_members(value: dict[str, Any], faults: Faults) -> None:
    """Tell of members that version 1.0 does not list, and that some say nothing."""
    for key, path in unknown_members(value):
        message = f"{shown(key)} is not in version 1.0: it is kept and has no effect"
        faults.note(path, "manifest.unknown-member", message)
    if minimal(value) != value:
        message = "empty and null members say nothing; manifest.minimize removes them"
        faults.note("$", "manifest.empty", message)
