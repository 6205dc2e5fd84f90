"""Which nodes of a document an image gets, from where, and what is said of the others."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from comfykiln.documents.export.dev_nodes import Collected, collect
from comfykiln.documents.manifest.nodes import LAST
from comfykiln.gather.pins import fetchable, is_exact
from comfykiln.parsing.faults import Note
from comfykiln.parsing.values import https, normal_name, repository_key
from comfykiln.system import files
from comfykiln.system.gate import masked

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from comfykiln.environment import Environment, Node

LOCAL = "https://local.invalid"
"""Where code is said to come from that came with the document; nothing is ever asked there."""
_MANAGER = "comfyui-manager"
_MOVING = ("/refs/heads/", "/archive/main.", "/archive/master.", "/archive/HEAD.")
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(kw_only=True, slots=True)
class Chosen:
    """The nodes to build, the code that came along by its sha256, what to say, what is wrong.

    `unpinned` is set where a fault is one that `snapshot.pin` fixes.
    """

    nodes: list[Node] = field(default_factory=list)
    code: dict[str, bytes] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unpinned: bool = False


def choose(
    environment: Environment,
    *,
    beside: Path | None,
    shipped: Collection[str],
    leave_out: Collection[str],
    repositories: Mapping[str, str],
    packs: Collection[str] = (),
) -> Chosen:
    """Decide over every node of the document; faults are collected, each with its place.

    `beside` is the folder that the document lies in, where the code of local nodes is looked for.
    `shipped` are the files below ComfyUI's own custom_nodes, `repositories` maps ids of the
    registry to addresses, `packs` are folders of packs that the image has anyway.
    """
    chosen = Chosen()
    folders: dict[str, Node] = {}
    for listed in sorted(environment.nodes, key=_order):
        node = _with_repository(listed, repositories)
        if is_named(node, leave_out):
            _tell(chosen, node, "left out, as --leave-out says")
        elif normal_name(node.name) == _MANAGER or _MANAGER in (node.url or "").lower():
            _tell(chosen, node, "left out: the image has ComfyUI-Manager as a package")
        elif node.name.casefold() in packs and node.source == "development":
            # As exports of this toolkit's own images have it.
            _tell(chosen, node, "left out: the image has its own pack in this folder")
        elif node.name.casefold() in packs:
            _fault(chosen, node, "the image has its own pack in this folder", "leave it out")
        elif other := folders.get(node.name.casefold()):
            _clash(node, other, chosen)
        else:
            folders[node.name.casefold()] = node
            _decide(node, environment, beside, shipped, chosen)
    return chosen


def is_named(node: Node, names: Collection[str]) -> bool:
    """Say whether one of the names, in lower case, is the node's folder or owner/repository."""
    key = repository_key(node.url).lower() if node.url else ""
    return normal_name(node.name) in names or any(
        "/" in name and f"/{key}".endswith(f"/{name}") for name in names
    )


def _with_repository(node: Node, repositories: Mapping[str, str]) -> Node:
    """Return a node of the registry at a commit with the repository that the person named."""
    by_commit = node.source == "registry" and node.commit is not None and node.url is None
    url = repositories.get(node.registry_id or "") if by_commit else None
    return replace(node, url=url) if url else node


def _clash(node: Node, other: Node, chosen: Chosen) -> None:
    """Take the first of two entries for one folder, where both mean the same pack."""
    if _same(node, other) or {node.source, other.source} == {"git", "registry"}:
        _tell(chosen, node, f"listed twice: {other.place or other.source} counts")
        return
    problem = f"{masked(node.url or node.source)} and {masked(other.url or other.source)} want "
    _fault(chosen, node, f"{problem}this folder", "leave one out, by its owner/repository")


def _order(node: Node) -> int:
    """Return when a node's post-install script runs: lower first, equals as listed."""
    return LAST if node.install_order is None else node.install_order


def _same(node: Node, other: Node) -> bool:
    """Say whether two entries mean one pack at one pin."""
    return https(node.url or "") == https(other.url or "") and node.wanted == other.wanted


def _decide(
    node: Node,
    environment: Environment,
    beside: Path | None,
    shipped: Collection[str],
    chosen: Chosen,
) -> None:
    match node.source:
        case "git":
            _take_git(node, chosen)
        case "registry":
            _take_registry(node, chosen)
        case "archive":
            _take_archive(node, chosen)
        case "file":
            _take_file(node, shipped, chosen)
        case "local":
            folder = _folder_beside(node, beside)
            if folder is None:
                where = f"in {beside}" if beside else "beside the document"
                problem = f"{masked(node.url or node.name)} is a folder of another machine"
                _fault(chosen, node, problem, f"put a copy {where} as {node.name}/")
            else:
                _take_folder(node, folder, chosen)
        case "development":
            _take_development(node, environment, chosen)


def _take_git(node: Node, chosen: Chosen) -> None:
    if node.commit is None:
        moving = node.ref or "its default branch"
        chosen.unpinned = True
        _fault(chosen, node, f"{moving} is no commit", "pin it")
    elif not https(node.url or "").startswith("https://"):
        _fault(chosen, node, f"{masked(node.url or '')} is not reached over https", "use https")
    else:
        chosen.nodes.append(_plain(replace(node, source="git")))
        if node.fallback_url and not https(node.fallback_url).startswith("https://"):
            _tell(chosen, node, "its fallback is not reached over https, and not asked")
            chosen.nodes[-1] = replace(chosen.nodes[-1], fallback_url=None)


def _take_registry(node: Node, chosen: Chosen) -> None:
    """Take a version of the registry, or the repository where a commit of it is wanted."""
    if node.url and node.commit:
        _take_git(node, chosen)
    elif node.commit:
        problem = f"only the registry knows the repository of {node.commit[:12]}"
        remedy = f"name it in a file of --rules: `repositories: {{{node.registry_id}: https://…}}`"
        _fault(chosen, node, problem, remedy)
    elif not is_exact(node.version):
        named = node.ref or node.version or "it names none"
        _fault(chosen, node, f"{named}: no exact version", "write one")
    else:
        chosen.nodes.append(_plain(node))


def _take_archive(node: Node, chosen: Chosen) -> None:
    if any(part in (node.url or "") for part in _MOVING):
        _fault(chosen, node, f"{masked(node.url or '')} moves", "name the archive of a commit")
        return
    for url in filter(None, (node.url, node.fallback_url)):
        if not fetchable(url):
            _fault(chosen, node, f"{masked(url)} is not reached over https", "use https")
            return
    if node.sha256 is None:
        _tell(chosen, node, "names no sha256: the lock holds that of what is fetched first")
    chosen.nodes.append(_plain(node))


def _take_file(node: Node, shipped: Collection[str], chosen: Chosen) -> None:
    if node.name in shipped and not node.disabled:
        chosen.nodes.append(_plain(node))
    elif node.name in shipped:
        _fault(chosen, node, "ComfyUI brings this file, and no image goes without it", "enable it")
    elif node.disabled:
        _tell(chosen, node, "left out: a single file, disabled, whose code no document holds")
    else:
        problem = "a single file that ComfyUI does not bring, and no document holds its code"
        _fault(chosen, node, problem, "make it a node of its own, or leave it out")


def _take_development(node: Node, environment: Environment, chosen: Chosen) -> None:
    """Take the code that travels with an export, else the repository at its commit."""
    prefix = f"dev_nodes/{node.name}/"
    members = {
        attachment.path.removeprefix(prefix): attachment.data
        for attachment in environment.attachments
        if attachment.path.startswith(prefix)
    }
    runnable = {
        attachment.path.removeprefix(prefix)
        for attachment in environment.attachments
        if attachment.executable
    }
    if members:
        _take_code(node, members, runnable, chosen)
    elif node.url:
        _take_git(node, chosen)
    else:
        problem = "under development, and neither its code nor its repository is in the document"
        _fault(chosen, node, problem, "export it with its code")


def _folder_beside(node: Node, beside: Path | None) -> Path | None:
    """Return the folder with a local node's code: one in the document's folder, nowhere else.

    A document may not say which other files of this machine go into an image.
    """
    if beside is None:
        return None
    places = [beside / node.name, beside / "custom_nodes" / node.name]
    written = PurePosixPath(node.url or "")
    if written.is_absolute() and ".." not in written.parts:
        places.insert(0, Path(written))
    inside = beside.resolve()
    return next(
        (
            place
            for place in places
            if place.is_dir() and not place.is_symlink() and place.resolve().is_relative_to(inside)
            and place.resolve() != inside
        ),
        None,
    )  # fmt: skip


def _take_folder(node: Node, folder: Path, chosen: Chosen) -> None:
    found = Collected()
    collect(node.name, folder, found)
    if found.faults:
        chosen.faults += [f"{node.place or node.name}: {fault}" for fault in found.faults]
        return
    if found.left_out:
        _tell(chosen, node, f"without files that may hold a secret: {', '.join(found.left_out)}")
    prefix = f"dev_nodes/{node.name}/"
    members = {name.removeprefix(prefix): data for name, data in found.files.items()}
    runnable = {name.removeprefix(prefix) for name in found.executable}
    _take_code(node, members, runnable, chosen)


def _take_code(
    node: Node, members: dict[str, bytes], runnable: Collection[str], chosen: Chosen
) -> None:
    """Take a node's files as an archive of their own, equal for equal files."""
    data = packed(members, runnable)
    digest = files.sha256(data)
    chosen.code[digest] = data
    url = f"{LOCAL}/{digest[:16]}/{node.name}.zip"
    made = _plain(node)
    chosen.nodes.append(
        replace(made, source="archive", url=url, sha256=digest, commit=None, ref=None)
    )


def packed(members: dict[str, bytes], runnable: Collection[str]) -> bytes:
    """Return a zip of the files: sorted, stored, without a time, so that equals are equal."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.create_system = 3  # Unix, whatever machine packs it
            info.external_attr = (0o100755 if name in runnable else 0o100644) << 16
            archive.writestr(info, members[name])
    return made.getvalue()


def _plain(node: Node) -> Node:
    """Return what is built of a node, without what a document says of it beside that."""
    return replace(
        node,
        url=https(node.url) if node.url and node.source == "git" else node.url,
        install_order=None,
        criticality=None,
        dependency_sources=(),
        submodules=(),
        identifier=None,
        has_requirements=None,
        extras=(),
        place="",
    )


def _fault(chosen: Chosen, node: Node, problem: str, remedy: str) -> None:
    place = f"{node.place}: " if node.place else ""
    chosen.faults.append(f"{place}{node.name}: {problem}; {remedy}")


def _tell(chosen: Chosen, node: Node, message: str) -> None:
    place = node.place or node.name
    chosen.notes.append(Note(path=place, rule="from.node", message=f"{node.name}: {message}"))
