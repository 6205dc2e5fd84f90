"""Environment exports of comfydock, comfygit and comfykiln: a tarball, a folder, a git repository.

Forms: `comfydock`, `comfygit`, `comfykiln`, and `record`: the environment.json of one by itself.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.documents.export import files as export_files
from comfykiln.documents.export import project, record
from comfykiln.documents.export.files import MANIFEST, PROJECT, RECORD, Files
from comfykiln.documents.export.write import write
from comfykiln.documents.kinds import Kind, Parsed
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.reading import load

if TYPE_CHECKING:
    from comfykiln.documents.kinds import Written
    from comfykiln.environment import Environment
    from comfykiln.network.indexes import IndexSettings

__all__ = ["parse", "read", "read_repository", "reread", "write"]


def read(path: Path) -> Parsed:
    """Return the environment in a tarball, a folder or a local git repository.

    A folder is read as it lies there, a repository without a pyproject.toml at its HEAD.
    Raises `FaultyDocumentError` with every fault, `DocumentError` for an unsafe or damaged export.
    """
    if path.is_dir():
        if not (path / PROJECT).is_file():
            return read_repository(str(path))
        return _parsed(export_files.from_folder(path), str(path), sealed=False)
    if path.name == PROJECT:
        return _parsed(export_files.from_folder(path.resolve().parent), str(path), sealed=False)
    if path.suffix == ".json":
        environment = record.read_alone(load(path), str(path))
        return Parsed(kind=Kind.EXPORT, source=str(path), environment=environment, form="record")
    if path.suffix == ".toml":
        return _parsed(Files(members={PROJECT: load(path)}), str(path), sealed=False)
    return _parsed(export_files.from_tarball(path), str(path), sealed=True)


def parse(data: bytes, source: str) -> Parsed:
    """Return the environment in a tarball's bytes."""
    with tempfile.TemporaryDirectory(prefix="comfykiln-export-") as folder:
        path = Path(folder) / "export.tar.gz"
        path.write_bytes(data)
        return _parsed(export_files.from_tarball(path), source, sealed=True)


def read_repository(
    address: str, ref: str | None = None, settings: IndexSettings | None = None
) -> Parsed:
    """Return the environment in a git repository, at an address or in a folder, at a ref."""
    files = export_files.from_repository(address, ref, settings)
    return _parsed(files, f"{address}@{files.commit}", sealed=False)


def reread(written: Written) -> Environment:
    """Return what a written export says."""
    return parse(written.data, written.filename).environment


def _parsed(files: Files, source: str, *, sealed: bool) -> Parsed:
    """Read the files of an export; a `sealed` one must be what its manifest says."""
    if PROJECT not in files.members:
        raise DocumentError(f"{source}: holds no {PROJECT}", remedy=_where_it_is(files))
    faults = Faults(source)
    record.check_digests(files, faults, sealed=sealed)
    environment, form = project.read(files, faults)
    faults.stop()
    if RECORD in files.members:
        environment = record.read(files, source, faults) or environment
    _tell_left_out(files, faults)
    return Parsed(
        kind=Kind.EXPORT,
        source=source,
        environment=environment,
        form="comfykiln" if MANIFEST in files.members or RECORD in files.members else form,
        notes=tuple(faults.notes),
    )


def _where_it_is(files: Files) -> str:
    """Return what to do about a missing pyproject.toml: archives of repositories have a folder."""
    for name in files.unknown:
        folder, _, rest = name.partition("/")
        if rest == PROJECT:
            return f"it lies in {folder}/: unpack it and name that folder"
    return "name an environment export, not a part of one"


def _tell_left_out(files: Files, faults: Faults) -> None:
    for rule, names, why in (
        ("export.left-out", files.left_out, "caches or possible secrets, left out"),
        ("export.unknown-file", files.unknown, "no part of an export, left out"),
    ):
        if names:
            shown = ", ".join(sorted(names)[:5]) + (" …" if len(names) > 5 else "")  # noqa: PLR2004  # one line
            faults.note("$", rule, f"{len(names)} files, {why}: {shown}")
