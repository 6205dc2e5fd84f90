"""What a comfykiln export carries beside the peers' layout: digests, and the whole environment.

`environment.json` holds the environment without loss, as long as no other file was changed since.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from comfykiln.documents import record, record_rules
from comfykiln.documents.export.files import MANIFEST, RECORD, is_member
from comfykiln.documents.export.models import path_of
from comfykiln.parsing.faults import Faults, FaultyDocumentError, refuse
from comfykiln.parsing.fields import Obj
from comfykiln.parsing.reading import json_value
from comfykiln.system.files import canonical_json, sha256

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfykiln.documents.export.files import Files
    from comfykiln.environment import Environment

FORMAT = 1


def check_digests(files: Files, faults: Faults, *, sealed: bool) -> None:
    """Hold the files against `manifest.json`: a fault in a sealed export, else only told."""
    if MANIFEST not in files.members:
        return
    try:
        manifest = Obj(json_value(files.members[MANIFEST], faults.source))
    except FaultyDocumentError as error:
        faults.records += [
            replace(entry, path=f"{MANIFEST}: {entry.path}") for entry in error.records
        ]
        return
    listed = manifest.obj("files")
    for name, _, path in listed:
        wanted = listed.obj(name).text("sha256")
        if name in files.members and sha256(files.members[name]) == wanted:
            continue
        if name not in files.members and name in (*files.left_out, *files.unknown):
            continue
        problem = "is not what the manifest says" if name in files.members else "is missing"
        where = f"{MANIFEST}: {path}"
        if sealed:
            remedy = "fetch or make the export again"
            faults.add(
                where, "export.digest", f"{name} {problem}", expected=str(wanted), remedy=remedy
            )
        else:
            faults.note(where, "export.digest", f"{name} {problem}: changed since the export")


def written(environment: Environment, members: Mapping[str, bytes]) -> bytes:
    """Return `environment.json` for an export of `members`, which holds no file's bytes twice."""
    bare = replace(
        environment,
        workflows=tuple(replace(workflow, data=b"") for workflow in environment.workflows),
        attachments=tuple(
            replace(attachment, data=b"") if is_member(attachment.path) else attachment
            for attachment in environment.attachments
        ),
    )
    return canonical_json({
        "format": FORMAT,
        "files": {name: sha256(data) for name, data in sorted(members.items())},
        "environment": record.dump(bare),
    })  # fmt: skip


def read(files: Files, source: str, faults: Faults) -> Environment | None:
    """Return the environment as it was written, None where other files were changed since."""
    root = Obj(json_value(files.members[RECORD], f"{source}: {RECORD}"))
    others = {name: sha256(data) for name, data in files.members.items() if name != RECORD}
    listed = root.value.get("files")
    others.pop(MANIFEST, None)
    if root.value.get("format") != FORMAT or listed != others:
        message = "other files were changed since it was written: they count, it does not"
        faults.note(RECORD, "export.changed", message)
        return None
    bare = record.load(root.value.get("environment"), f"{source}: {RECORD}")
    found = Faults(f"{source}: {RECORD}")
    record_rules.check(bare, found)
    found.stop()
    return _filled(bare, files.members)


def read_alone(data: bytes, source: str) -> Environment:
    """Return the environment of an `environment.json` by itself, without the bytes of files."""
    root = Obj(json_value(data, source))
    if root.value.get("format") != FORMAT:
        refuse(source, "$.format", "record.value", "another format", expected=str(FORMAT))
    found = record.load(root.value.get("environment"), source)
    faults = Faults(source)
    record_rules.check(found, faults)
    faults.stop()
    return found


def _filled(bare: Environment, members: Mapping[str, bytes]) -> Environment:
    """Return the environment with the bytes of its workflows and attachments."""
    return replace(
        bare,
        workflows=tuple(
            replace(workflow, data=members.get(path_of(workflow), b""))
            for workflow in bare.workflows
        ),
        attachments=tuple(
            replace(attachment, data=members[attachment.path])
            if attachment.path in members
            else attachment
            for attachment in bare.attachments
        ),
    )
