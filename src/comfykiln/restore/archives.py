"""Nodes that no git host has: archives are unpacked as the Manager does it, single files copied."""

from __future__ import annotations

import shutil
import zipfile
from typing import TYPE_CHECKING

from comfykiln.restore.running import StepError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from comfykiln.restore.plans import ArchiveNode, RestorePlan

# By this file, a line for each name, the Manager knows a registry node and what belongs to it.
TRACKING = ".tracking"


def unpack(node: ArchiveNode, folder: Path) -> None:
    """Unpack the node's archive, whose names the host has checked, into the new folder."""
    folder.mkdir()
    with zipfile.ZipFile(node.archive) as archive:
        archive.extractall(folder)  # written by the host, name by name
        names = archive.namelist()
    if node.registry_id:
        (folder / TRACKING).write_text("\n".join(names), "utf-8")


def archive_faults(node: ArchiveNode, custom_nodes: Path) -> Iterator[str]:
    """Yield what is wrong with a node from an archive: a file missing, changed or surplus."""
    folder = custom_nodes / node.directory
    if not folder.is_dir():
        yield f"{node.directory}: was not unpacked"
        return
    with zipfile.ZipFile(node.archive) as archive:
        wanted = {name: archive.read(name) for name in archive.namelist()}
    for name, data in wanted.items():
        if not (folder / name).is_file() or (folder / name).read_bytes() != data:
            yield f"{node.directory}: {name} is not as in the archive"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    for name in sorted(there - wanted.keys() - {TRACKING}):
        yield f"{node.directory}: {name} is not in the archive"


def place_files(plan: RestorePlan, custom_nodes: Path) -> None:
    """Copy the single files; a disabled one gets the ending by which no server imports it."""
    for one in plan.files:
        target = custom_nodes / (f"{one.name}.disabled" if one.disabled else one.name)
        if one.own and not one.disabled:
            continue
        if target.exists():
            raise StepError(f"{one.name}: {target} is there already")
        shutil.copyfile(plan.beside / one.name, target)


def file_faults(plan: RestorePlan, custom_nodes: Path) -> Iterator[str]:
    """Yield what is wrong with single files: missing, changed, imported though disabled."""
    for one in plan.files:
        here = custom_nodes / one.name
        target = here.with_name(f"{one.name}.disabled") if one.disabled else here
        if not target.is_file() or target.read_bytes() != (plan.beside / one.name).read_bytes():
            yield f"{one.name}: is not below custom_nodes as the snapshot has it"
        if one.disabled and here.exists():
            yield f"{one.name}: is disabled, but there to be imported"
