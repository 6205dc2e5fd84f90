"""Packages that nodes want from git: resolved to commits, gathered like nodes, laid out as trees.

A wheel is built from the commit's tree, inside the build; on the host only uv's solve looks at it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from comfykiln.errors import NotPossibleError
from comfykiln.gather.git_nodes import AT_A_TIME, GatheredNode, tried
from comfykiln.gather.node_lock import LockedSource
from comfykiln.gather.pins import NodePin
from comfykiln.git import command

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from comfykiln.git.repository import GitTree
    from comfykiln.network.access import Access
    from comfykiln.network.indexes import IndexSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class GatheredSource:
    """A package's repository at its commit, on this machine, by the mounts of its submodules."""

    locked: LockedSource
    repositories: Mapping[str, GitTree]


def resolve_sources(
    wanted: Iterable[tuple[str, str, str]],
    known: Sequence[LockedSource],
    upgrade: Sequence[str],
    mirror: Path | None,
    settings: IndexSettings,
) -> tuple[LockedSource, ...]:
    """Return a commit for every (address, ref, subdirectory); the names are not known yet.

    What the lock holds already stays, but for the packages in `upgrade` (`all` for every one).
    Raises what `comfykiln.git.refs.resolve` does.
    """
    from comfykiln.environment import is_commit  # noqa: PLC0415  # as above
    from comfykiln.git.refs import resolve  # noqa: PLC0415  # rare

    kept = {
        (entry.url, entry.ref, entry.subdirectory): entry
        for entry in known
        if entry.name not in upgrade and "all" not in upgrade
    }
    found = []
    for url, ref, subdirectory in sorted(wanted):
        if (url, ref, subdirectory) in kept:
            found.append(kept[url, ref, subdirectory])
            continue
        commit = ref if is_commit(ref) else resolve(url, ref or None, mirror, settings).commit
        found.append(
            LockedSource(name="", url=url, ref=ref, commit=commit, subdirectory=subdirectory)
        )
    return tuple(found)


def obtain_sources(sources: Sequence[LockedSource], access: Access) -> tuple[GatheredSource, ...]:
    """Return every repository at its commit. Raises `NotPossibleError` that names all missing."""
    pins = [
        NodePin(directory=source.name or source.url, url=source.url, commit=source.commit)
        for source in sources
    ]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        results = list(pool.map(partial(tried, access), pins))
    missing = [result for result in results if isinstance(result, str)]
    if missing:
        raise NotPossibleError(
            f"{len(missing)} package(s) that nodes want from git cannot be fetched:\n  "
            + "\n  ".join(missing),
            remedy="name a folder of mirrors (--git-mirror DIR), or a proxy that reaches the host, "
            "or replace the package by a released one (`overrides:` in service.yaml)",
        )
    made = [result for result in results if isinstance(result, GatheredNode)]
    return tuple(
        GatheredSource(locked=source, repositories=node.repositories)
        for source, node in zip(sources, made, strict=True)
    )


def named(
    sources: Sequence[GatheredSource], names: Mapping[str, str]
) -> tuple[GatheredSource, ...]:
    """Return the sources with the package names that a solve found (address → name)."""
    return tuple(
        replace(source, locked=replace(source.locked, name=names[source.locked.address]))
        for source in sources
    )


def lay_out(source: GatheredSource, folder: Path) -> None:
    """Write the commit's files below the new folder, submodules too, as a checkout."""
    for mount, tree in source.repositories.items():
        place = folder / mount if mount else folder
        command.init(place, bare=False)
        inside = place / ".git"
        command.git_bytes("index-pack", "--stdin", repository=inside, stdin=tree.pack.read_bytes())
        (inside / "shallow").write_text(f"{tree.commit}\n", "ascii")
        words = ("checkout", "--quiet", "--detach", tree.commit)
        command.git(*words, repository=inside, options=[f"--work-tree={place}"])
