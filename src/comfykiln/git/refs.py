"""What a branch, tag or abbreviated commit of a repository means right now, asked of git itself.

No value can become an option or a command: arguments stand behind `--` or `--end-of-options`,
only https is allowed (for a folder of mirrors only files), and git never asks anything.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.environment import is_commit
from comfykiln.errors import DocumentError, KilnError, NotPossibleError
from comfykiln.git import command
from comfykiln.parsing.values import https_url, split_url
from comfykiln.system.gate import masked
from comfykiln.system.process import ProgramError, SilentProgramError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfykiln.network.indexes import IndexSettings

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


def resolve(
    url: str,
    ref: str | None,
    mirrors: Path | None = None,
    settings: IndexSettings | None = None,
) -> Resolved:
    """Return the commit that `ref` names in the repository; None means its default branch.

    A branch or tag of that name goes before an abbreviated commit, which is looked up in the
    history. `settings` say how the host is reached, those of this machine where there are none.
    Raises `NotPossibleError` when the host cannot be reached, `DocumentError` when the repository
    or the ref does not exist or the ref is ambiguous.
    """
    place = mirror_of(url, mirrors)
    source = _Source(url=url, place=place, settings=settings)
    refs = _list_refs(source)
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
        return _abbreviated(source, ref)
    raise DocumentError(
        f"{masked(url)}: has no branch or tag {ref}", remedy="look the name up in the repository"
    )


def mirror_of(url: str, mirrors: Path | None) -> Path | None:
    """Return the repository's copy below `mirrors`, laid out as host/owner/repository.git."""
    if mirrors is None:
        return None
    parts = split_url(https_url(url))
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """A repository to ask: at `place` on this machine where it has one, else at its address."""

    url: str
    place: Path | None
    settings: IndexSettings | None

    def ask(
        self,
        command_name: str,
        options: Sequence[str],
        *words: str,
        into: Path | None = None,
        seconds: float,
    ) -> str:
        """Run a command with the address and `words` behind it; raises what `_failure` returns."""
        try:
            return command.ask(
                command_name,
                options,
                [str(self.place) if self.place else _https(self.url), *words],
                protocol="file" if self.place else "https",
                repository=into,
                settings=self.settings,
                timeout=seconds,
            )
        except ProgramError as error:
            raise _failure(error, self.url) from error
        except SilentProgramError as error:
            raise NotPossibleError(
                f"{masked(self.url)}: no answer within {seconds:g} s",
                remedy="try again, or use a mirror",
            ) from error


def fetch(source: str, ref: str | None, target: Path, settings: IndexSettings | None = None) -> str:
    """Make the bare repository `target` with one commit of `source` and return the commit.

    `source` is an https address or a folder, `ref` a branch, tag or commit, None for the default.
    Nothing is checked out, and no setting or hook of the source takes part.
    """
    place = Path(source).resolve() if Path(source).is_dir() else None
    repository = _Source(url=source, place=place, settings=settings)
    command.init(target)
    options = ["--quiet", "--no-tags"]
    if place:
        options.append("--update-shallow")  # a clone made with --depth is taken as far as it goes
        specs = ["+HEAD:refs/source/head", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        repository.ask("fetch", options, *specs, into=target, seconds=CLONE_SECONDS)
        return _expand(target, source, ref or "refs/source/head").commit
    commit = ref if ref and is_commit(ref) else resolve(source, ref, settings=settings).commit
    options += ["--depth", "1"]
    repository.ask("fetch", options, commit, into=target, seconds=CLONE_SECONDS)
    return commit


def commit_date(url: str, commit: str, mirrors: Path | None) -> str | None:
    """Return the day of a commit as 2026-01-31 where a mirror holds it, None elsewhere."""
    folder = mirror_of(url, mirrors)
    if folder is None or not is_commit(commit):
        return None
    words = ("log", "-1", "--no-show-signature", "--format=%cs", "--end-of-options", commit)
    try:
        text = command.git(*words, repository=command.git_dir(folder), timeout=SECONDS)
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


def _list_refs(source: _Source) -> dict[str, str]:
    """Return name to commit of the default branch, branches and tags; tags are peeled."""
    patterns = ["HEAD", "refs/heads/*", "refs/tags/*"]
    output = source.ask("ls-remote", ["--quiet"], *patterns, seconds=SECONDS)
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


def _abbreviated(source: _Source, ref: str) -> Resolved:
    """Look an abbreviated commit up in the history: the tips alone cannot prove it unique."""
    if source.place:
        return _expand(command.git_dir(source.place), source.url, ref)
    with tempfile.TemporaryDirectory(prefix="comfykiln-pin-") as folder:
        target = Path(folder) / "history.git"
        options = ["--quiet", "--bare", "--template=", "--filter=tree:0"]
        source.ask("clone", options, str(target), seconds=CLONE_SECONDS)
        return _expand(target, source.url, ref)


def _expand(repository: Path, url: str, ref: str) -> Resolved:
    words = ("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")
    try:
        commit = command.git(*words, repository=repository, timeout=SECONDS).strip()
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
