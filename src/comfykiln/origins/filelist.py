"""The pinned list of a tree's files: one `sha256  mode  path` line each, sorted by path."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# What ComfyUI's repository holds for its own maintainers: no list has it.
LEFT_OUT = (
    *(".ci/", ".github/", "tests/", "tests-unit/"),
    *(".coderabbit.yaml", ".gitattributes", ".spectral.yaml", "pytest.ini"),
    *("AGENTS.md", "CODEOWNERS", "CONTRIBUTING.md"),
)
_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<mode>644|755)  (?P<path>\S(?:.*\S)?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedFile:
    """One file of the tree: its bytes' sha256 and whether it can be executed."""

    path: str
    sha256: str
    mode: int

    @property
    def line(self) -> str:
        """The file's line in the list."""
        return f"{self.sha256}  {self.mode:o}  {self.path}"


def read_list(path: Path) -> dict[str, PinnedFile]:
    """Return path → pinned file; raises `DocumentError` with every faulty line."""
    lines = path.read_text("utf-8").splitlines()
    matches = [_LINE.fullmatch(line) for line in lines]
    pinned = [
        PinnedFile(path=match["path"], sha256=match["sha256"], mode=int(match["mode"], 8))
        for match in matches
        if match
    ]
    names = [file.path for file in pinned]
    faults = [
        f"line {number}: {lines[number - 1]!r}" for number, m in enumerate(matches, 1) if not m
    ]
    faults += [f"the path {name!r} leaves the tree" for name in names if not is_inside(name)]
    if names != sorted(set(names)):
        faults.append("the paths are not sorted, or one occurs twice")
    if faults:
        remedy = "make the list again as docs/origins.md says"
        raise DocumentError(f"{path} is no list of files", faults=faults, remedy=remedy)
    return {file.path: file for file in pinned}


def is_inside(name: str) -> bool:
    """Tell whether the archive or list path `name` stays below the folder it is put in."""
    parts = name.removesuffix("/").split("/")
    return not ({"", ".."} & set(parts)) and "\0" not in name and "\\" not in name


def list_tree(folder: Path, leave_out: Sequence[str] = ()) -> str:
    """Return the text of the list of all files below `folder`.

    `leave_out` holds paths and, ending in a slash, folders that the list is made without.
    """
    skipped = tuple(name for name in leave_out if name.endswith("/"))
    kept = sorted(
        name for name in walk(folder) if name not in leave_out and not name.startswith(skipped)
    )
    return "".join(f"{_pin(folder, name).line}\n" for name in kept)


def faults_of(folder: Path, pinned: Mapping[str, PinnedFile]) -> list[str]:
    """Return how the tree on disk differs from the list, one line a file, sorted; [] when equal."""
    there = set(walk(folder))
    missing = [f"{name}: missing" for name in pinned.keys() - there]
    extra = [f"{name}: not in the list" for name in there - pinned.keys()]
    other = [
        _difference(pinned[name], found)
        for name in there & pinned.keys()
        if (found := _pin(folder, name)) != pinned[name]
    ]
    return sorted([*missing, *extra, *other])


def _difference(pinned: PinnedFile, found: PinnedFile) -> str:
    if not found.sha256:
        return f"{found.path}: no regular file"
    if found.sha256 == pinned.sha256:
        return f"{found.path}: mode {found.mode:o} instead of {pinned.mode:o}"
    return f"{found.path}: sha256 {found.sha256[:12]}… instead of {pinned.sha256[:12]}…"


def walk(folder: Path) -> Iterator[str]:
    """Yield the relative path of everything below `folder` that is no directory."""
    for parent, folders, names in os.walk(folder):
        place = Path(parent)
        links = [name for name in folders if (place / name).is_symlink()]
        for name in (*names, *links):
            yield str((place / name).relative_to(folder))


def _pin(folder: Path, name: str) -> PinnedFile:
    path = folder / name
    status = path.lstat()
    mode = 0o755 if status.st_mode & 0o100 else 0o644
    if not stat.S_ISREG(status.st_mode):
        return PinnedFile(path=name, sha256="", mode=0)
    return PinnedFile(path=name, sha256=files.sha256_file(path), mode=mode)
