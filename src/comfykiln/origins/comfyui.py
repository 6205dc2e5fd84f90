"""ComfyUI's tree, from git or an archive that holds the same files: proven by the pinned list."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError
from comfykiln.git import commits
from comfykiln.network.client import UnavailableError
from comfykiln.network.http import chunks
from comfykiln.origins.archive import TreeArchive, extract, pieces
from comfykiln.origins.attempts import Attempt, first_available
from comfykiln.origins.filelist import faults_of, read_list
from comfykiln.origins.simple import places_of
from comfykiln.plan.origins import ComfyUISpec, GitOrigin, OriginUse, SdistOrigin
from comfykiln.system import console, files
from comfykiln.system.gate import bare_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from comfykiln.network.access import Access
    from comfykiln.origins.filelist import PinnedFile

# Every file of the tree carries this time, in seconds, whichever origin it came from.
MTIME = 1_760_000_000
SHOWN = 5


def obtain_comfyui(spec: ComfyUISpec, access: Access) -> tuple[Path, OriginUse]:
    """Return a folder with exactly the pinned files of `spec`, and where they came from.

    The folder belongs to the store and is not to be written; it is hashed at each call. A folder of
    git mirrors is asked first. Raises `NotPossibleError` when no allowed origin can be used,
    `KilnError` when one yields other files than pinned.
    """
    final = access.store.root / "comfyui" / spec.content
    pinned = read_list(spec.files)
    with access.store.lock(f"comfyui-{spec.content}"):
        use = _use_in_store(spec, final, pinned)
        if use is None or (access.strict and use.fallback):
            use = _fetch(spec, access, final, pinned)
    return final, use


def _use_in_store(
    spec: ComfyUISpec, final: Path, pinned: Mapping[str, PinnedFile]
) -> OriginUse | None:
    """Return where the tree in the store came from, or None when it is missing or damaged."""
    note = _note(final)
    if not final.is_dir() or not note.is_file():
        return None
    faults = faults_of(final, pinned)
    if faults:
        shown = "; ".join(faults[:SHOWN])
        console.warn(f"the store's ComfyUI {spec.version} is damaged, fetched again: {shown}")
        return None
    return OriginUse(**json.loads(note.read_bytes()))


def _fetch(
    spec: ComfyUISpec, access: Access, final: Path, pinned: Mapping[str, PinnedFile]
) -> OriginUse:
    with access.store.scratch(f"comfyui-{spec.content}-work") as work:
        attempts = list(_attempts(spec, access, work))
        archive, taken = first_available(f"ComfyUI {spec.version}", attempts, strict=access.strict)
        with access.store.new_folder(final) as folder:
            extract(archive, folder, pinned)
            _require_equal(spec, folder, pinned)
            _settle(folder)
    use = OriginUse(
        thing="comfyui",
        identity=f"{spec.commit} sha256:{spec.content}",
        origin=taken.origin,
        detail=taken.detail,
        fallback=taken.fallback,
    )
    files.write_bytes(_note(final), files.canonical_json(asdict(use)))
    return use


def _attempts(spec: ComfyUISpec, access: Access, work: Path) -> Iterator[Attempt[TreeArchive]]:
    """Yield the origins in order: the mirrors first where a folder of them was named."""
    repositories = [origin for origin in spec.origins if isinstance(origin, GitOrigin)]
    for origin in repositories:
        if access.mirror is None:
            break
        repository = commits.mirrored(access.mirror, origin.url)
        yield Attempt(
            origin="git-mirror",
            detail=f"mirror of {origin.url} at {spec.commit}",
            fallback=True,
            get=partial(_from_repository, spec, repository, work),
        )
    for number, place in enumerate(spec.origins):
        yield _attempt(spec, access, place, work, fallback=number > 0)


def _attempt(
    spec: ComfyUISpec,
    access: Access,
    origin: GitOrigin | SdistOrigin,
    work: Path,
    *,
    fallback: bool,
) -> Attempt[TreeArchive]:
    if isinstance(origin, GitOrigin):
        return Attempt(
            origin="git",
            detail=f"{origin.url} at {spec.commit}",
            fallback=fallback,
            get=partial(_from_git, spec, access, origin, work),
        )
    changed = f", {len(origin.corrections)} line(s) corrected" if origin.corrections else ""
    return Attempt(
        origin="sdist",
        detail=f"{origin.folder} of {origin.file}, sha256 {origin.sha256}{changed}",
        fallback=fallback,
        get=partial(_from_sdist, access, origin),
    )


def _from_git(spec: ComfyUISpec, access: Access, origin: GitOrigin, work: Path) -> TreeArchive:
    with console.timed(f"fetching ComfyUI {spec.version} from {origin.url}"):
        repository = commits.fetch_commit(
            origin.url,
            spec.commit,
            work / "repository.git",
            settings=access.settings,
            patience=access.patience,
        )
        return _from_repository(spec, repository, work)


def _from_repository(spec: ComfyUISpec, repository: Path, work: Path) -> TreeArchive:
    commit = spec.commit
    commits.require_commit(repository, commit)
    archive = work / "tree.tar"
    commits.export(repository, commit, archive)
    return TreeArchive(path=archive, title=f"the commit {commit} of {repository.name}")


def _from_sdist(access: Access, origin: SdistOrigin) -> TreeArchive:
    path = access.store.path(origin.sha256)
    if not access.store.has(origin.sha256):
        with console.timed(f"fetching {origin.file} from the package index"):
            _download(access, origin)
    return TreeArchive(
        path=path,
        title=origin.file,
        folder=origin.folder,
        strip=1,
        corrections=origin.corrections,
    )


def _download(access: Access, origin: SdistOrigin) -> None:
    """Put the file into the store from the first place that gives all of it."""
    reasons: list[str] = []
    for place in places_of(origin.project, origin.file, access.settings, access.patience):
        try:
            access.store.put(
                _bytes_at(access, origin, place), origin.sha256, source=bare_address(place)
            )
        except UnavailableError as error:
            reasons.append(error.message)
        else:
            return
    raise UnavailableError("; ".join(reasons))


def _bytes_at(access: Access, origin: SdistOrigin, place: str) -> Iterator[bytes]:
    if "://" not in place:
        return pieces(Path(place))
    return chunks(place, access.settings, size=origin.size, patience=access.patience)


def _require_equal(spec: ComfyUISpec, folder: Path, pinned: Mapping[str, PinnedFile]) -> None:
    faults = faults_of(folder, pinned)
    if faults:
        raise KilnError(
            f"ComfyUI {spec.version} as written is not what is pinned: {'; '.join(faults[:SHOWN])}",
            remedy="look at the disk that holds the store; name another folder in COMFYKILN_STORE",
        )


def _settle(folder: Path) -> None:
    """Give every file and folder of the tree one time and readable modes, whatever the umask."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            os.utime(Path(parent) / name, (MTIME, MTIME))
        Path(parent).chmod(0o755)
        os.utime(parent, (MTIME, MTIME))


def _note(final: Path) -> Path:
    return final.with_name(f"{final.name}.json")
