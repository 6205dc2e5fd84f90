"""ComfyUI and its custom nodes as commands: fetch, requirements, post-install scripts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlunsplit

from comfykiln.documents.manifest.read import MOVING
from comfykiln.parsing.values import split_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comfykiln.environment import ComfyUISpec, Node

COMFYUI_REPOSITORY = "https://github.com/Comfy-Org/ComfyUI.git"
LAST = 999
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One program call: its `stage`, its argument list, what it is for.

    `fallback` is tried when the program fails; `output` names the file that takes its output;
    `unset` names variables that must not be set while it runs.
    """

    stage: str
    argv: tuple[str, ...]
    why: str
    fallback: tuple[str, ...] = ()
    output: str = ""
    unset: tuple[str, ...] = ()


def comfyui(wanted: ComfyUISpec, install: Sequence[str]) -> Iterator[Command]:
    """Yield the commands that check ComfyUI out into the current folder."""
    name = wanted.wanted or "master"
    repository = wanted.repository or COMFYUI_REPOSITORY
    yield _comfyui(("git", "init", "--quiet"), "a repository around what is there")
    yield _comfyui(("git", "remote", "add", "origin", repository), "where ComfyUI comes from")
    if _COMMIT.fullmatch(name) and len(name) < 40:  # noqa: PLR2004  # an abbreviated commit
        # A server resolves whole commits only; file contents follow on checkout.
        yield _comfyui(("git", "fetch", "--filter=blob:none", "--", "origin"), "every commit")
        yield _comfyui(("git", "checkout", "--quiet", "--detach", name), f"ComfyUI {name}")
    else:
        yield _comfyui(("git", "fetch", "--depth", "1", "--", "origin", name), f"ComfyUI {name}")
        yield _comfyui(("git", "checkout", "--quiet", "--detach", "FETCH_HEAD"), "its files")
    yield _comfyui((*install, "-r", "requirements.txt"), "what the document does not pin")


def _comfyui(argv: Sequence[str], why: str) -> Command:
    return Command(stage="comfyui", argv=tuple(argv), why=why)


def nodes(found: Sequence[Node], install: Sequence[str]) -> Iterator[Command]:
    """Yield the commands for the nodes: lower `install_order` first, equal ones as listed.

    All are fetched before the first requirement is installed and before the first script runs.
    """
    order = sorted(
        (node for node in found if not node.disabled),
        key=lambda node: LAST if node.install_order is None else node.install_order,
    )
    for node in order:
        yield from _fetch(node)
    for node in order:
        if node.has_requirements:
            argv = (*install, "-r", f"custom_nodes/{node.name}/requirements.txt")
            yield Command(stage="requirements", argv=argv, why=f"what {node.name} requires")
    for node in order:
        if node.has_post_install:
            folder = ("--directory", f"custom_nodes/{node.name}")
            argv = ("uv", "run", "--no-project", *folder, "python", "install.py")
            yield Command(stage="post-install", argv=argv, why=f"runs the code of {node.name}")


def _fetch(node: Node) -> Iterator[Command]:
    match node.source:
        case "git":
            yield from _clone(node)
        case "archive":
            yield from _unpack(node)
        case "local":
            argv = ("cp", "-R", "--", node.url or "", f"custom_nodes/{node.name}")
            yield Command(stage="node", argv=argv, why=f"{node.name}, from its folder")
        case "registry":
            yield _manager_command(node)
        case "file" | "development":
            return  # a manifest lists none: their code is in no place that a command could name


def _clone(node: Node) -> Iterator[Command]:
    """Clone at a branch or tag, or whole history without contents where a commit is wanted."""
    folder = f"custom_nodes/{node.name}"
    wanted = node.commit or node.ref
    pinned = wanted is not None and _COMMIT.fullmatch(wanted) is not None
    options: tuple[str, ...] = ("--filter=blob:none", "--no-checkout")
    if not pinned:
        options = ("--depth", "1", "--recurse-submodules", "--shallow-submodules")
        options += ("--branch", wanted) if wanted else ()
    clone, fallback = (
        ("git", "clone", *options, "--", without_credentials(url), folder) if url else ()
        for url in (node.url, node.fallback_url)
    )
    why = f"{node.name} at {wanted or 'its default branch'}"
    yield Command(stage="node", argv=clone, why=why, fallback=fallback)
    if pinned:
        argv: tuple[str, ...] = (
            "git",
            "-C",
            folder,
            "checkout",
            "--quiet",
            "--detach",
            wanted or "",
        )
        yield Command(stage="node", argv=argv, why=f"{node.name}: that commit")
        argv = ("git", "-C", folder, "submodule", "update", "--init", "--recursive")
        yield Command(stage="node", argv=argv, why=f"{node.name}: the repositories inside it")


def _unpack(node: Node) -> Iterator[Command]:
    """Download an archive and unpack what is inside its only top folder."""
    folder = f"custom_nodes/{node.name}"
    is_zip = re.search(r"\.zip(\Z|[?#])|/zip(ball)?/", node.url or "") is not None
    file = f"{folder}.{'zip' if is_zip else 'tar.gz'}"
    download, fallback = (
        ("curl", "--fail", "--location", "--output", file, "--url", without_credentials(url))
        if url
        else ()
        for url in (node.url, node.fallback_url)
    )
    yield Command(stage="node", argv=download, why=f"{node.name}, an archive", fallback=fallback)
    yield Command(stage="node", argv=("mkdir", "-p", "--", folder), why=f"{node.name}: its folder")
    program = "bsdtar" if is_zip else "tar"
    argv: tuple[str, ...] = (program, "-x", "-f", file, "-C", folder, "--strip-components", "1")
    yield Command(stage="node", argv=argv, why=f"{node.name}: its files")
    yield Command(stage="node", argv=("rm", "--", file), why=f"{node.name}: the archive goes")


def _manager_command(node: Node) -> Command:
    wanted = node.registry_id or node.url or node.name
    moving = node.ref if (node.ref or "").lower() in MOVING else None
    if node.registry_id and (version := node.version or moving):
        wanted = f"{node.registry_id}@{version}"
    argv = ("comfy", "--skip-prompt", "--workspace", ".", "node", "install", "--exit-on-fail")
    return Command(stage="node", argv=(*argv, wanted), why=f"{node.name}, by ComfyUI-Manager")


def without_credentials(url: str) -> str:
    """Return an address without user and password, which belong into netrc or a keyring."""
    if not url.startswith(("http://", "https://")):
        return url
    parts = split_url(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
