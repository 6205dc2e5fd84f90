"""Fetch one commit from a git repository by its 40 hex digits: no hooks, no prompts, no waiting."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError
from comfykiln.git import command
from comfykiln.network.client import UnavailableError
from comfykiln.network.http import Patience, page
from comfykiln.parsing.values import split_url
from comfykiln.system.gate import bare_address
from comfykiln.system.process import ProgramError

if TYPE_CHECKING:
    from pathlib import Path

    from comfykiln.network.indexes import IndexSettings

_COMMIT = re.compile(r"[0-9a-f]{40}")


def fetch_commit(
    url: str,
    commit: str,
    target: Path,
    *,
    settings: IndexSettings,
    patience: Patience,
    protocol: str = "https",
    probe: bool = True,
) -> Path:
    """Fetch `commit` alone, without history, into the new bare repository `target`; return it.

    `probe` asks the host for the repository without credentials first, which a private one refuses.
    Raises `UnavailableError` when the host cannot be reached or does not have the commit.
    """
    _require_commit(commit)
    if probe:
        _probe(url, settings, patience)
    command.init(target)
    try:
        command.ask(
            "fetch",
            ["--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules"],
            [url, commit],
            protocol=protocol,
            repository=target,
            settings=settings,
            stall=patience.stall,
            timeout=patience.total,
        )
    except ProgramError as error:
        reason = _said(error.output) or f"git ended with status {error.status}"
        raise UnavailableError(f"{bare_address(url)}: {reason}") from error
    return target


def mirrored(mirror: Path, url: str) -> Path:
    """Return the repository below the mirrors (host/owner/repo.git) that stands for `url`."""
    parts = split_url(url)
    path = parts.path.strip("/").removesuffix(".git")
    return mirror / (parts.hostname or "") / f"{path}.git"


def require_commit(repository: Path, commit: str) -> None:
    """Raise `UnavailableError` where the repository on disk is missing or lacks the commit."""
    _require_commit(commit)
    if not (repository / "HEAD").is_file():
        raise UnavailableError(f"{repository} is no git repository")
    try:
        kind = command.git("cat-file", "-t", commit, repository=repository).strip()
    except ProgramError as error:
        raise UnavailableError(f"{repository} does not have the commit {commit}") from error
    if kind != "commit":
        raise UnavailableError(f"{commit} in {repository} is a {kind}, not a commit")


def export(repository: Path, commit: str, archive: Path) -> None:
    """Write the commit's tree as the tar file `archive`."""
    _require_commit(commit)
    words = ("archive", "--format=tar", f"--output={archive}", commit)
    command.git(*words, repository=repository)


def _probe(url: str, settings: IndexSettings, patience: Patience) -> None:
    """Ask the host for the repository's refs, so that git itself never waits for a dead one."""
    address = f"{url}/info/refs?service=git-upload-pack"
    # Version 2 answers with a few lines, not with every ref there is.
    page(address, settings, patience=patience, headers={"Git-Protocol": "version=2"})


def _said(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for kind in ("fatal:", "error:") for line in lines if line.startswith(kind)]
    reason = told[0] if told else ""
    if "could not read Username" in reason:
        return f"{reason} (a private one opens where git's own credential helpers know the login)"
    return reason


def _require_commit(commit: str) -> None:
    if not _COMMIT.fullmatch(commit):
        raise KilnError(f"{commit!r} is no commit", remedy="pin the 40 hex digits of the commit")
