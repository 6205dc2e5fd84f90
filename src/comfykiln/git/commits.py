"""Fetch one commit from a git repository by its 40 hex digits: no hooks, no prompts, no waiting."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from comfykiln.errors import KilnError
from comfykiln.network.client import UnavailableError, redacted
from comfykiln.network.http import Patience, page
from comfykiln.system import process

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    protocols: Sequence[str] = ("https",),
    probe: bool = True,
) -> Path:
    """Fetch `commit` alone, without history, into the new bare repository `target`; return it.

    `probe` asks the host for the repository without credentials first, which a private one refuses.
    Raises `UnavailableError` when the host cannot be reached or does not have the commit.
    """
    _require_commit(commit)
    if probe:
        _probe(url, settings, patience)
    process.capture(["git", "init", "--quiet", "--bare", "--template=", "--", str(target)])
    fetch = ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--"]
    argv = [*_git(target), *_slow(patience), *fetch, url, commit]
    try:
        process.capture(argv, env=environment(settings, protocols), timeout=patience.total)
    except process.ProgramError as error:
        reason = _said(error.output) or f"git ended with status {error.status}"
        raise UnavailableError(f"{redacted(url)}: {reason}") from error
    return target


def mirrored(mirror: Path, url: str) -> Path:
    """Return the repository below the mirrors (host/owner/repo.git) that stands for `url`."""
    parts = urlsplit(url)
    path = parts.path.strip("/").removesuffix(".git")
    return mirror / (parts.hostname or "") / f"{path}.git"


def require_commit(repository: Path, commit: str, settings: IndexSettings) -> None:
    """Raise `UnavailableError` where the repository on disk is missing or lacks the commit."""
    _require_commit(commit)
    if not (repository / "HEAD").is_file():
        raise UnavailableError(f"{repository} is no git repository")
    argv = [*_git(repository), "cat-file", "-t", commit]
    try:
        kind = process.capture(argv, env=environment(settings, ()), timeout=60)
    except process.ProgramError as error:
        raise UnavailableError(f"{repository} does not have the commit {commit}") from error
    if kind.strip() != "commit":
        raise UnavailableError(f"{commit} in {repository} is a {kind.strip()}, not a commit")


def read(repository: Path, settings: IndexSettings, *words: str) -> str:
    """Return what a git command prints that reads the repository on disk, and nothing else."""
    argv = [*_git(repository), "-c", "core.quotePath=false", *words]
    return process.capture(argv, env=environment(settings, ()), timeout=300)


def export(repository: Path, commit: str, archive: Path, settings: IndexSettings) -> None:
    """Write the commit's tree as the tar file `archive`."""
    _require_commit(commit)
    argv = [*_git(repository), "-c", "core.autocrlf=false", "archive", "--format=tar"]
    env = environment(settings, ())
    process.capture([*argv, f"--output={archive}", commit], env=env, timeout=300)


def environment(settings: IndexSettings, protocols: Sequence[str]) -> dict[str, str]:
    """Return the environment for git: the host's, no questions asked, only these protocols."""
    kept = {name: value for name, value in os.environ.items() if not _steers_git(name)}
    kept |= settings.proxies
    if settings.ca_bundle:
        kept["GIT_SSL_CAINFO"] = str(settings.ca_bundle)
    return kept | {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "GCM_INTERACTIVE": "never",
        "GIT_ALLOW_PROTOCOL": ":".join(protocols) or "none",
        "LC_ALL": "C",
    }


def _steers_git(name: str) -> bool:
    """Tell whether a variable would make git work on another repository than the one named."""
    return name in {
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_TRACE",
    }


def _git(repository: Path) -> list[str]:
    return ["git", f"--git-dir={repository}", "-c", "core.hooksPath=/dev/null"]


def _slow(patience: Patience) -> list[str]:
    seconds = max(1, int(patience.stall))
    return ["-c", "http.lowSpeedLimit=1000", "-c", f"http.lowSpeedTime={seconds}"]


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
