"""One repository at one commit, read out of git into a pack, with what a build must know of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DocumentError
from comfykiln.git import command
from comfykiln.git.pack import GitObject, pack, read_objects
from comfykiln.parsing.values import join_url
from comfykiln.system import files
from comfykiln.system.process import ProgramError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"
PACK = "objects.pack"


@dataclass(frozen=True, kw_only=True, slots=True)
class Module:
    """A submodule: where it is mounted, its repository, the commit that the tree names."""

    path: str
    url: str
    commit: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GitTree:
    """A repository at one commit.

    `pack` holds every object of the commit, `sha256` is the pack's. `requirements` and `pyproject`
    are the texts of these files at the top, None where there are none. `lfs` are the paths of Git
    LFS pointers, `lacking` those whose content the source did not have.
    """

    url: str
    commit: str
    pack: Path
    sha256: str
    requirements: str | None
    pyproject: str | None
    install_script: bool
    submodules: tuple[Module, ...]
    lfs: tuple[str, ...]
    lacking: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the record as data; the pack lies beside it."""
        return {
            "url": self.url,
            "commit": self.commit,
            "sha256": self.sha256,
            "requirements": self.requirements,
            "pyproject": self.pyproject,
            "install_script": self.install_script,
            "submodules": [
                {"path": entry.path, "url": entry.url, "commit": entry.commit}
                for entry in self.submodules
            ],
            "lfs": list(self.lfs),
            "lacking": list(self.lacking),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], folder: Path) -> GitTree:
        """Return the record whose pack lies in `folder`."""
        return cls(
            url=raw["url"],
            commit=raw["commit"],
            pack=folder / PACK,
            sha256=raw["sha256"],
            requirements=raw["requirements"],
            pyproject=raw["pyproject"],
            install_script=raw["install_script"],
            submodules=tuple(Module(**entry) for entry in raw["submodules"]),
            lfs=tuple(raw["lfs"]),
            lacking=tuple(raw["lacking"]),
        )


def read_repository(source: Path, url: str, commit: str, folder: Path) -> GitTree:
    """Write the commit of the repository `source` as a pack into `folder`; return what it holds."""
    entries = _entries(source, commit)
    top = command.git("rev-parse", "--verify", f"{commit}^{{tree}}", repository=source).strip()
    names = sorted({commit, top, *(name for kind, name, _ in entries if kind != "commit")})
    found: dict[str, GitObject] = {}
    missing: set[str] = set()
    for entry in read_objects(source, names):
        if isinstance(entry, str):
            missing.add(entry)
        else:
            found[entry.name] = entry
    _require_trees(source, entries, missing)
    data = pack(found.values())
    files.write_bytes(folder / PACK, data)
    blobs = {path: name for kind, name, path in entries if kind == "blob"}
    texts = {path: found[name].data for path, name in blobs.items() if name in found}
    return GitTree(
        url=url,
        commit=commit,
        pack=folder / PACK,
        sha256=files.sha256(data),
        requirements=_text(texts.get("requirements.txt"), f"{url} requirements.txt"),
        pyproject=_text(texts.get("pyproject.toml"), f"{url} pyproject.toml"),
        install_script="install.py" in blobs,
        submodules=tuple(_modules(source, url, commit, entries)),
        lfs=tuple(sorted(path for path, text in texts.items() if text.startswith(LFS_POINTER))),
        lacking=tuple(sorted(path for path, name in blobs.items() if name in missing)),
    )


def _entries(source: Path, commit: str) -> list[tuple[str, str, str]]:
    """Return (kind, object, path) of everything below the commit; a submodule's kind is commit."""
    listed = command.git("ls-tree", "-r", "-t", "-z", "--full-tree", commit, repository=source)
    entries = []
    for line in filter(None, listed.split("\0")):
        head, _, path = line.partition("\t")
        _, kind, name = head.split()
        entries.append((kind, name, path))
    return entries


def _require_trees(
    source: Path, entries: Iterable[tuple[str, str, str]], missing: set[str]
) -> None:
    for kind, name, path in entries:
        if kind == "tree" and name in missing:
            raise DocumentError(
                f"{source}: lacks the folder {path} ({name})", remedy="mirror the repository anew"
            )


def _modules(
    source: Path,
    url: str,
    commit: str,
    entries: Iterable[tuple[str, str, str]],
) -> Iterable[Module]:
    links = {path: name for kind, name, path in entries if kind == "commit"}
    if not links:
        return
    try:
        argv = ("config", "--null", f"--blob={commit}:.gitmodules", "--list")
        listed = command.git(*argv, repository=source)
    except ProgramError as error:
        raise _unmapped(url, next(iter(links))) from error
    sections: dict[str, dict[str, str]] = {}
    for line in filter(None, listed.split("\0")):
        key, _, value = line.partition("\n")
        if match := re.fullmatch(r"submodule\.(.+)\.(path|url)", key):
            sections.setdefault(match[1], {})[match[2]] = value
    places = {
        section["path"]: section["url"]
        for section in sections.values()
        if {"path", "url"} <= section.keys()
    }
    for path, name in sorted(links.items()):
        if path not in places:
            raise _unmapped(url, path)
        yield Module(path=path, url=_absolute(places[path], url), commit=name)


def _absolute(address: str, parent: str) -> str:
    """Return a submodule's address over https; a relative one lies beside its parent."""
    from comfykiln.parsing.values import https  # noqa: PLC0415  # nodes need it, rarely submodules

    if address.startswith(("./", "../")):
        return join_url(f"{parent}/", address).removesuffix("/").removesuffix(".git")
    plain = https(address)
    if not plain.startswith("https://"):
        raise DocumentError(
            f"{parent}: its submodule {address} is not reached over https",
            remedy="leave the node out, or pin a commit without it",
        )
    return plain


def _unmapped(url: str, path: str) -> DocumentError:
    return DocumentError(
        f"{url}: {path} is a submodule that .gitmodules does not name",
        remedy="leave the node out, or pin a commit that fixes it",
    )


def _text(data: bytes | None, what: str) -> str | None:
    if data is None:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{what} is no UTF-8", remedy="pin a commit that fixes it") from error
