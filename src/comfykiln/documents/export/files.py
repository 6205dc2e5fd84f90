"""The files of an environment export, whether it is a tarball, a folder or a git repository."""

from __future__ import annotations

import stat
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.documents.export.dev_nodes import is_cache, is_secret
from comfykiln.errors import DocumentError
from comfykiln.git import command
from comfykiln.git.refs import fetch
from comfykiln.parsing.tarballs import MIB, Limits, name_fault, unpack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from comfykiln.network.indexes import IndexSettings

PROJECT = "pyproject.toml"
LOCK = "uv.lock"
PYTHON = ".python-version"
PACKAGES = "package_config.toml"
RECORD = "environment.json"
MANIFEST = "manifest.json"
RECEIPT = "receipt.json"
WORKFLOWS = "workflows/"
DEV_NODES = "dev_nodes/"
LIMITS = Limits(total=64 * MIB, members=10_000)
"""An export is read whole, so what it unpacks to is bounded more tightly than any tarball."""
_FILES = (PROJECT, LOCK, PYTHON, PACKAGES, RECORD, MANIFEST, RECEIPT)
_FOLDERS = (WORKFLOWS, DEV_NODES, "overlays/", "workflow_api/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """What an export holds: file name to bytes, which of them are executable.

    `left_out` names what is no part of an export: caches, version control, files that may hold a
    secret, and `unknown` what no export has. `commit` is the commit a repository was read at.
    """

    members: Mapping[str, bytes]
    executable: frozenset[str] = frozenset()
    left_out: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    commit: str | None = None


def from_tarball(path: Path) -> Files:
    """Return the files of a tarball. Raises `DocumentError` for one that is damaged or hostile."""
    found = unpack(path, LIMITS)
    return _sorted_out(found.members, found.executable)


def from_folder(folder: Path) -> Files:
    """Return the files of a folder, as they are now, without following links.

    Raises `DocumentError` that names every link, special file and unfit name among them.
    """
    members: dict[str, bytes] = {}
    executable = set()
    faults: list[str] = []
    total = 0
    for name, path in _walk(folder, "", faults):
        status = path.stat()
        total += status.st_size
        if total > LIMITS.total or len(members) >= LIMITS.members:
            raise DocumentError(
                f"{folder}: too large for an export, at {name}",
                remedy="name the folder of the export itself; models do not belong into it",
            )
        members[name] = path.read_bytes()
        if status.st_mode & stat.S_IXUSR:
            executable.add(name)
    if faults:
        raise DocumentError(
            f"{folder}: refused, not a safe export",
            faults=sorted(faults),
            remedy="put plain files in the place of these",
        )
    found = _sorted_out(members, executable)
    return replace(found, unknown=())


def from_repository(
    address: str, ref: str | None = None, settings: IndexSettings | None = None
) -> Files:
    """Return the files of a git repository at a branch, tag or commit, else at its default branch.

    `address` is an https address or a folder. Nothing is checked out: hooks, filters and
    submodules of the repository have no part in it.
    Raises `NotPossibleError` when the host cannot be reached, `DocumentError` otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="comfykiln-export-") as name:
        clone, packed = Path(name) / "export.git", Path(name) / "export.tar.gz"
        commit = fetch(address, ref, clone, settings)
        # Attributes in the repository could leave files out or rewrite them.
        (clone / "info").mkdir(exist_ok=True)
        (clone / "info" / "attributes").write_text(
            "* -export-ignore -export-subst -filter -text -ident -working-tree-encoding\n", "utf-8"
        )
        listed = command.git("ls-tree", "--name-only", "-z", commit, repository=clone).split("\0")
        wanted = [entry for entry in listed if entry in _FILES or f"{entry}/" in _FOLDERS]
        if PROJECT not in wanted:
            raise _no_project(f"{address} at {commit[:12]}")
        words = ("archive", "--format=tar.gz", "-o", str(packed), f"{commit}^{{tree}}", "--")
        command.git(*words, *wanted, repository=clone)
        found = from_tarball(packed)
    return replace(found, unknown=(), commit=commit)


def _no_project(source: str) -> DocumentError:
    return DocumentError(
        f"{source}: holds no {PROJECT}", remedy="name an environment export or its repository"
    )


def _walk(folder: Path, prefix: str, faults: list[str]) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each file that may belong to an export."""
    for path in sorted(folder.iterdir()):
        name = f"{prefix}{path.name}"
        if not prefix and name not in _FILES and f"{name}/" not in _FOLDERS:
            continue
        if is_cache(path.name):
            continue
        if path.is_symlink():
            faults.append(f"{name!a}: is a symbolic link to {str(path.readlink())!a}")
        elif fault := name_fault(name):
            faults.append(f"{name!a}: the name {fault}")
        elif path.is_dir():
            yield from _walk(path, f"{name}/", faults)
        elif path.is_file():
            yield name, path
        else:
            faults.append(f"{name!a}: is neither a file nor a folder")


def _sorted_out(members: Mapping[str, bytes], executable: Collection[str] = ()) -> Files:
    """Tell the files of an export from caches, secrets and strangers."""
    kept: dict[str, bytes] = {}
    left_out, unknown = [], []
    for name, data in members.items():
        parts = name.split("/")
        if name not in _FILES and not name.startswith(_FOLDERS):
            unknown.append(name)
        elif parts[0] == "dev_nodes" and any(is_cache(part) for part in parts):
            left_out += [name] if ".git" not in parts else []
        elif parts[0] == "dev_nodes" and any(is_secret(part) for part in parts):
            left_out.append(name)
        else:
            kept[name] = data
    return Files(
        members=kept,
        executable=frozenset(executable) & kept.keys(),
        left_out=tuple(left_out),
        unknown=tuple(unknown),
    )


def is_member(name: str) -> bool:
    """Say whether a file of that name is one that exports hold and readers take in."""
    kept = _sorted_out({name: b""}).members
    return name in kept and name not in (PROJECT, PYTHON, RECORD, MANIFEST, RECEIPT)
