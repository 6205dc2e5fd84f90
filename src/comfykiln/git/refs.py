"""What a branch, tag or abbreviated commit of a repository means right now, asked of git itself.

No value can become an option or a command: arguments stand behind `--` or `--end-of-options`,
only https is allowed (for a folder of mirrors only files), and git never asks anything.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from comfykiln.environment import is_commit
from comfykiln.errors import DocumentError, KilnError, NotPossibleError
from comfykiln.parsing.values import https_url, masked
from comfykiln.system.process import ProgramError, capture

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 60
CLONE_SECONDS = 600
_SHORT = re.compile(r"[0-9a-f]{7,39}")
_MISSING = re.compile(r"(?i)not found|does not exist|error: 404|not appear to be a git repository")
_DENIED = re.compile(r"(?i)could not read Username|authentication failed|error: 40[13]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """A commit of 40 hex digits and how it was found: `branch main`, `tag v1`, `default branch`."""

    commit: str
    how: str


def resolve(url: str, ref: str | None, mirrors: Path | None = None) -> Resolved:
    """Return the commit that `ref` names in the repository; None means its default branch.

    A branch or tag of that name goes before an abbreviated commit, which is looked up in the
    history. Raises `NotPossibleError` when the host cannot be reached, `DocumentError` when the
    repository or the ref does not exist or the ref is ambiguous.
    """
    place = mirror_of(url, mirrors)
    address = str(place) if place else _https(url)
    refs = _list_refs(address, url, place is not None)
    if ref is None or (ref == "latest" and not _named(refs, ref)):
        return _default(refs, url)
    found = _named(refs, ref)
    if len(set(found.values())) > 1:
        raise DocumentError(
            f"{masked(url)}: {ref} is both a branch and a tag, of different commits",
            remedy=f"write refs/heads/{ref} or refs/tags/{ref}, or the commit",
        )
    if found:
        how, commit = next(iter(found.items()))
        return Resolved(commit=commit, how=how)
    if _SHORT.fullmatch(ref):
        return _abbreviated(address, url, ref, place)
    raise DocumentError(
        f"{masked(url)}: has no branch or tag {ref}", remedy="look the name up in the repository"
    )


def mirror_of(url: str, mirrors: Path | None) -> Path | None:
    """Return the repository's copy below `mirrors`, laid out as host/owner/repository.git."""
    if mirrors is None:
        return None
    parts = urlsplit(https_url(url))
    path = parts.path.strip("/").removesuffix(".git")
    names = [part for part in path.split("/") if part]
    if any(part in (".", "..") for part in names) or not parts.hostname:
        return None
    for tail in (path, path.lower()):
        for ending in (".git", ""):
            folder = mirrors / parts.hostname / f"{tail}{ending}"
            if folder.is_dir():
                return folder.resolve()
    return None


def fetch(source: str, ref: str | None, target: Path) -> str:
    """Make the bare repository `target` with one commit of `source` and return the commit.

    `source` is an https address or a folder, `ref` a branch, tag or commit, None for the default.
    Nothing is checked out, and no setting or hook of the source takes part.
    """
    capture(["git", "init", "--quiet", "--bare", "--", str(target)], env=git_env(""))
    argv = ["git", "-C", str(target), "fetch", "--quiet", "--no-tags"]
    if Path(source).is_dir():
        address = str(Path(source).resolve())
        specs = ["+HEAD:refs/source/head", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        _ask([*argv, "--", address, *specs], source, "file", CLONE_SECONDS)
        return _expand(target, source, ref or "refs/source/head").commit
    address = _https(source)
    commit = ref if ref and is_commit(ref) else resolve(source, ref).commit
    _ask([*argv, "--depth", "1", "--", address, commit], source, "https", CLONE_SECONDS)
    return commit


def commit_date(url: str, commit: str, mirrors: Path | None) -> str | None:
    """Return the day of a commit as 2026-01-31 where a mirror holds it, None elsewhere."""
    folder = mirror_of(url, mirrors)
    if folder is None or not is_commit(commit):
        return None
    argv = ["git", "-C", str(folder), "log", "-1", "--no-show-signature", "--format=%cs"]
    try:
        text = capture([*argv, "--end-of-options", commit], env=git_env("file"), timeout=SECONDS)
    except ProgramError:
        return None  # the mirror is older than the commit
    return text.strip() or None


def _https(url: str) -> str:
    address = https_url(url)
    if not address.startswith("https://"):
        raise DocumentError(
            f"{masked(url)}: is not asked over an unencrypted or local transport",
            remedy="write the https address, or name a folder of mirrors",
        )
    return address


def _list_refs(address: str, url: str, local: bool) -> dict[str, str]:  # noqa: FBT001  # one question
    """Return name to commit of the default branch, branches and tags; tags are peeled."""
    patterns = ["HEAD", "refs/heads/*", "refs/tags/*"]
    argv = ["git", "ls-remote", "--quiet", "--", address, *patterns]
    output = _ask(argv, url, "file" if local else "https", SECONDS)
    refs: dict[str, str] = {}
    for line in output.splitlines():
        commit, _, name = line.partition("\t")
        if is_commit(commit):
            refs[name.removesuffix("^{}")] = commit  # the peeled line follows its tag
    return refs


def _named(refs: Mapping[str, str], ref: str) -> dict[str, str]:
    names = {
        f"refs/heads/{ref}": f"branch {ref}",
        f"refs/tags/{ref}": f"tag {ref}",
        ref: ref if ref.startswith("refs/") else "",
    }
    return {how: refs[name] for name, how in names.items() if how and name in refs}


def _default(refs: Mapping[str, str], url: str) -> Resolved:
    if "HEAD" not in refs:
        raise DocumentError(f"{masked(url)}: has no default branch", remedy="name a branch")
    return Resolved(commit=refs["HEAD"], how="default branch")


def _abbreviated(address: str, url: str, ref: str, place: Path | None) -> Resolved:
    """Look an abbreviated commit up in the history: the tips alone cannot prove it unique."""
    if place:
        return _expand(place, url, ref)
    with tempfile.TemporaryDirectory(prefix="comfykiln-pin-") as folder:
        target = Path(folder) / "history.git"
        argv = ["git", "clone", "--quiet", "--bare", "--filter=tree:0", "--", address, str(target)]
        _ask(argv, url, "https", CLONE_SECONDS)
        return _expand(target, url, ref)


def _expand(folder: Path, url: str, ref: str) -> Resolved:
    argv = ["git", "-C", str(folder), "rev-parse", "--verify", "--end-of-options"]
    try:
        commit = capture([*argv, f"{ref}^{{commit}}"], env=git_env(""), timeout=SECONDS).strip()
    except ProgramError as error:
        ambiguous = "ambiguous" in error.output
        raise DocumentError(
            f"{masked(url)}: {ref} "
            + ("begins several commits" if ambiguous else "begins no commit of a branch or tag"),
            remedy="write all 40 digits",
        ) from error
    if not is_commit(commit):
        raise KilnError(f"{masked(url)}: git answered {commit!r} for {ref}")
    return Resolved(commit=commit, how="abbreviated commit")


def _ask(argv: list[str], url: str, protocol: str, seconds: float) -> str:
    try:
        return capture(argv, env=git_env(protocol), timeout=seconds)
    except ProgramError as error:
        raise _failure(error, url) from error
    except KilnError as error:
        if not isinstance(error.__cause__, subprocess.TimeoutExpired):
            raise
        raise NotPossibleError(
            f"{masked(url)}: no answer within {seconds:g} s", remedy="try again, or use a mirror"
        ) from error


def _failure(error: ProgramError, url: str) -> KilnError:
    output = masked(error.output.strip())
    last = output.splitlines()[-1] if output else f"status {error.status}"
    if _DENIED.search(output):
        return NotPossibleError(
            f"{masked(url)}: may not be read without a login (or does not exist)",
            remedy="check the address; give git a credential helper for the host",
        )
    if _MISSING.search(output):
        return DocumentError(f"{masked(url)}: no such repository", remedy="correct the address")
    return NotPossibleError(
        f"{masked(url)}: cannot be reached: {last}",
        remedy="check the network, or name a folder of mirrors with --git-mirror",
    )


def git_env(protocol: str) -> dict[str, str]:
    """Return an environment in which git speaks `protocol` only and never asks a person."""
    return {
        **os.environ,
        "GIT_ALLOW_PROTOCOL": protocol,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
    }
