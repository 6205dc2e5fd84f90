"""Bring a model from the bucket to where ComfyUI's loaders find it, or say that it is there."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import compat, local
from .fingerprints import seen
from .runtime import human, object_key
from .shared.download import Downloaded, download
from .shared.errors import ChangedError, DamagedError, SpaceError, StorageError, UnreachableError

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    from .local import Copy
    from .runtime import Task
    from .shared.store import Found, Store

ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the node is asked for; `sha256` and `save_as` may be ""."""

    kind: str
    key: str
    sha256: str = ""
    save_as: str = ""
    force: bool = False

    def name(self, store: Store, suffixes: frozenset[str]) -> PurePosixPath:
        """Return the path below the models folder; raise `StorageError` for a kind without one.

        ComfyUI checks what is typed against the list and nothing that comes over a wire,
        and it has other folders, such as that of the nodes.
        """
        if self.kind not in compat.model_types():
            raise StorageError(
                f"No directory configured for model type: {self.kind}",
                remedy="choose one of the list; a newer ComfyUI may have more",
            )
        told = self.save_as.strip()
        return local.local_name(told or object_key(store.profile, self.key), suffixes)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model that is in place: `name` is what a loader takes."""

    name: str
    path: Path
    sha256: str
    how: str


def bring(store: Store, wanted: Wanted, task: Task) -> Model:
    """Return the model, downloaded if it is not here or no longer what the bucket has.

    Where the store cannot be reached, an intact earlier download is used and said so.
    Raises `StorageError` otherwise; a file that is not ours is never overwritten unless forced.
    """
    folders, suffixes = compat.model_folders(wanted.kind)
    name = wanted.name(store, suffixes)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            found = store.head(object_key(store.profile, wanted.key))
        except UnreachableError as error:
            return _offline(store, wanted, folders, name, error)
        seen(store, found)
        try:
            return _bring(store, wanted, found, folders, name, task)
        except ChangedError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")


def intact_copy(store: Store, wanted: Wanted, etag: str) -> bool:
    """Say whether the file is in place and of the object's state `etag` ("" for unknown)."""
    folders, suffixes = compat.model_folders(wanted.kind)
    copy = _first(folders, wanted.name(store, suffixes))
    return (
        copy is not None
        and copy.is_from(store.profile, object_key(store.profile, wanted.key))
        and copy.record is not None
        and etag in ("", copy.record.etag)
        and copy.intact()
    )


def _bring(
    store: Store,
    wanted: Wanted,
    found: Found,
    folders: list[Path],
    name: PurePosixPath,
    task: Task,
) -> Model:
    copy = _first(folders, name)
    if copy is not None and not wanted.force:
        model = _use(store, wanted, found, copy, name)
        if model is not None:
            return model
    folder = local.writable_folder(folders, wanted.kind)
    target = folder / name
    if copy is not None and copy.path != target:
        folder, target = _replaceable(folders, copy, name)
    if found.size == 0:
        raise DamagedError(f"{store.url(found.key)} is empty.", remedy="upload the model again")
    task.expect(found.size)
    since = target.stat().st_mtime_ns if target.exists() else 0
    done = download(
        store.remote(found),
        target,
        sha256=wanted.sha256 or local.promised(found),
        already=lambda: _arrived(store, wanted, found, target, since),
        before=lambda done: local.facts(target, store.profile, found, done),
        watch=task.watch(),
    )
    return _model(store, found, target, name, done)


def _model(
    store: Store, found: Found, target: Path, name: PurePosixPath, done: Downloaded | None
) -> Model:
    copy = local.look(target)
    if copy is None or copy.record is None:
        raise StorageError(f"{target} has vanished.", remedy="run it again")
    how = "downloaded by another run" if done is None else f"downloaded {human(found.size)}"
    if done is not None and done.kept:
        how += f", of which {human(done.kept)} were here from an earlier attempt"
    return Model(
        name=str(name),
        path=target,
        sha256=copy.record.sha256,
        how=f"{how} from {store.url(found.key)}",
    )


def _arrived(store: Store, wanted: Wanted, found: Found, target: Path, since: int) -> bool:
    """Say whether another run has brought the file while this one waited."""
    copy = local.look(target)
    if copy is None or (wanted.force and copy.mtime_ns == since):
        return False
    return _current(store, found, copy)


def _current(store: Store, found: Found, copy: Copy) -> bool:
    return (
        copy.record is not None
        and copy.is_from(store.profile, found.key)
        and copy.record.etag == found.etag
        and copy.intact()
    )


def _use(
    store: Store, wanted: Wanted, found: Found, copy: Copy, name: PurePosixPath
) -> Model | None:
    """Return the copy as a model if it is the object; None if it is an older download of it.

    Raises `StorageError` for a file that is something else.
    """
    if _current(store, found, copy) and copy.record is not None:
        _expect(wanted, copy.record.sha256, copy.path)
        return Model(
            name=str(name), path=copy.path, sha256=copy.record.sha256, how="already here, unchanged"
        )
    if copy.is_from(store.profile, found.key):
        return None
    if not copy.same_content(found):
        raise StorageError(
            f"{copy.path} exists and is not a download of {store.url(found.key)}.",
            remedy="move it, give another name with save_as, or set force_redownload to replace it",
        )
    sha256 = local.sha256_of(copy.path)
    _expect(wanted, sha256, copy.path)
    with contextlib.suppress(OSError):  # in a read-only folder it is compared again next time
        local.record(copy.path, store.profile, found, sha256, copy.mtime_ns)
    return Model(name=str(name), path=copy.path, sha256=sha256, how="already here, equal")


def _expect(wanted: Wanted, sha256: str, path: Path) -> None:
    if wanted.sha256 and wanted.sha256.lower() != sha256:
        raise DamagedError(
            f"{path} has the sha256 {sha256}, not {wanted.sha256.lower()}.",
            remedy="check the expected value, or the object",
        )


def _replaceable(folders: list[Path], copy: Copy, name: PurePosixPath) -> tuple[Path, Path]:
    """Return where a stale copy lies, since ComfyUI would find it before any newer one."""
    folder = next(folder for folder in folders if folder / name == copy.path)
    if local.can_write(copy.path.parent):
        return folder, copy.path
    raise SpaceError(
        f"{copy.path} is out of date and cannot be replaced: its folder is read-only.",
        remedy="give another name with save_as, or mount the folder writable",
    )


def _first(folders: list[Path], name: PurePosixPath) -> Copy | None:
    """Return the copy that ComfyUI's loaders find under `name`."""
    for folder in folders:
        copy = local.look(folder / name)
        if copy is not None:
            return copy
    return None


def _offline(
    store: Store,
    wanted: Wanted,
    folders: list[Path],
    name: PurePosixPath,
    error: UnreachableError,
) -> Model:
    copy = _first(folders, name)
    key = object_key(store.profile, wanted.key)
    if copy is None or copy.record is None or not copy.is_from(store.profile, key):
        raise error
    if not copy.intact():
        raise error
    _expect(wanted, copy.record.sha256, copy.path)
    return Model(
        name=str(name),
        path=copy.path,
        sha256=copy.record.sha256,
        how=f"the store cannot be reached; using the copy that is here ({error.message})",
    )
