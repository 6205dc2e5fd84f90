"""Bring an image, sound or video into ComfyUI's temp folder, once per state of the object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import compat
from .fingerprints import seen
from .runtime import digest, object_key
from .shared.download import download
from .shared.errors import ChangedError, DamagedError, MissingError, UnreachableError

if TYPE_CHECKING:
    from pathlib import Path

    from .runtime import Task
    from .shared.store import Found, Store

FOLDER = "cloud_storage"
ATTEMPTS = 3
SUFFIX_LIMIT = 10


def bring(store: Store, key: str, task: Task) -> Path:
    """Return a local copy of the object `key` as it is now.

    Where the store cannot be reached, the last copy of it is used.
    Raises `StorageError` where there is none, or `DamagedError` for an empty object.
    """
    whole = object_key(store.profile, key)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            found = store.head(whole)
            seen(store, found)
            return _bring(store, found, task)
        except UnreachableError:
            kept = _latest(_folder(store, whole))
            if kept is None:
                raise
            return kept
        except MissingError as error:
            lines = len(whole.splitlines())
            if lines == 1:
                raise
            raise MissingError(
                f"The key has {lines} lines, and no such object exists.",
                remedy="give it one line of List Bucket Contents",
                code=error.code,
            ) from None
        except ChangedError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")


def _bring(store: Store, found: Found, task: Task) -> Path:
    if found.size == 0:
        raise DamagedError(f"{store.url(found.key)} is empty.", remedy="check the object")
    folder = _folder(store, found.key)
    target = folder / f"{digest(found.etag, found.size)}{_suffix(found.key)}"
    if not target.exists():
        task.expect(found.size)
        download(store.remote(found), target, already=target.exists, watch=task.watch())
    for other in folder.glob("[!.]*"):
        if other != target:
            other.unlink(missing_ok=True)
    return target


def _folder(store: Store, key: str) -> Path:
    place = digest(store.profile.endpoint, store.bucket, key)
    return compat.temp_directory() / FOLDER / place


def _latest(folder: Path) -> Path | None:
    files = sorted(folder.glob("[!.]*"), key=lambda file: file.stat().st_mtime_ns)
    return files[-1] if files else None


def _suffix(key: str) -> str:
    """Return the key's suffix, which tells some readers the format, if it is a plain one."""
    dot, _, suffix = key.rpartition("/")[2].rpartition(".")
    return f".{suffix}" if dot and suffix.isalnum() and len(suffix) <= SUFFIX_LIMIT else ""
