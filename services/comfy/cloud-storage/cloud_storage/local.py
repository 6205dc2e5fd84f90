"""Where a model of the bucket lies on this machine, and what is known about the file there.

The whole key is the path below the models folder, so two objects never share a file.
Beside `model.safetensors` lies `.model.safetensors.source.json`: which object it came from,
its ETag, size and sha256, and the file's time stamp, so that an edit is noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from .names import has_strange_character
from .shared.errors import SpaceError, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .shared.download import Downloaded
    from .shared.profiles import Profile
    from .shared.store import Found

FORMAT = 1
CHUNK = 1 << 20
LONGEST_NAME = 200
MD5_LENGTH = 32
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Record:
    """Where a file came from and what it was when it arrived."""

    endpoint: str
    bucket: str
    key: str
    etag: str
    size: int
    sha256: str
    mtime_ns: int
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A file below a models folder: `record` is None for one that is not ours."""

    path: Path
    size: int
    mtime_ns: int
    record: Record | None

    def is_from(self, profile: Profile, key: str) -> bool:
        """Say whether the file was downloaded from this very object."""
        return self.record is not None and _origin(self.record) == (
            profile.endpoint,
            profile.bucket,
            key,
        )

    def intact(self) -> bool:
        """Say whether the file still is what arrived; hashes it only where the stamp changed."""
        if self.record is None or self.size != self.record.size:
            return False
        return self.mtime_ns == self.record.mtime_ns or (sha256_of(self.path) == self.record.sha256)

    def same_content(self, found: Found) -> bool:
        """Say whether a file that is not ours certainly equals the object."""
        if self.size != found.size:
            return False
        known = promised(found)
        if known:
            return sha256_of(self.path) == known
        etag = found.etag.strip('"').lower()
        return len(etag) == MD5_LENGTH and _hash(self.path, "md5") == etag


def promised(found: Found) -> str:
    """Return the sha256 that the object's metadata has as hex digits, "" for none."""
    told = found.metadata.get("sha256", "").strip().lower().removeprefix("sha256:")
    return told if SHA256.fullmatch(told) else ""


def local_name(key: str, suffixes: frozenset[str]) -> PurePosixPath:
    """Return the path below a models folder for the object `key`: its whole key.

    Raises `StorageError` for a key that cannot be a path everywhere or that no loader would list.
    """
    parts = key.split("/")
    problem = ""
    if "" in parts or "." in parts or ".." in parts:
        problem = "has an empty part, . or .. between slashes"
    elif any(_strange(part) for part in parts):
        problem = "has a part that cannot be the name of a file on every system"
    elif suffixes and Path(parts[-1]).suffix.lower() not in suffixes:
        problem = f"ends in none of {', '.join(sorted(suffixes))}, so no loader would list it"
    if problem:
        raise StorageError(
            f"The key {key!r} {problem}.", remedy="choose another object, or a name with save_as"
        )
    return PurePosixPath(*parts)


def look(path: Path) -> Copy | None:
    """Return what is known about the file, None where there is none."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Copy(
        path=path, size=status.st_size, mtime_ns=status.st_mtime_ns, record=_read_record(path)
    )


def record(path: Path, profile: Profile, found: Found, sha256: str, mtime_ns: int) -> None:
    """Write down where the file came from, whole or not at all."""
    entry = Record(
        endpoint=profile.endpoint,
        bucket=profile.bucket,
        key=found.key,
        etag=found.etag,
        size=found.size,
        sha256=sha256,
        mtime_ns=mtime_ns,
    )
    target = record_path(path)
    temporary = target.with_name(target.name + ".new")
    temporary.write_text(json.dumps(asdict(entry), indent=1), encoding="utf-8")
    temporary.replace(target)


def record_path(path: Path) -> Path:
    """Return the name of the file beside `path` that says where it came from."""
    return path.with_name(f".{path.name}.source.json")


def writable_folder(folders: Sequence[Path], kind: str) -> Path:
    """Return the models folder to write into: the one named like its kind, else the first.

    Raises `SpaceError` naming every folder and what is wrong with it where none can be written.
    """
    if not folders:
        raise StorageError(
            f"No directory configured for model type: {kind}", remedy="update ComfyUI"
        )
    usable = [folder for folder in folders if can_write(folder)]
    if not usable:
        places = ", ".join(str(folder) for folder in folders)
        raise SpaceError(
            f"No models folder for {kind} can be written: {places} (read-only, or not ours).",
            remedy="mount a writable volume there, or add a writable folder for "
            f"{kind} in extra_model_paths.yaml",
        )
    return next((folder for folder in usable if folder.name == kind), usable[0])


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as 64 hex digits."""
    return _hash(path, "sha256")


def facts(path: Path, profile: Profile, found: Found, done: Downloaded) -> None:
    """Record a download just before it takes its name."""
    record(path, profile, found, done.sha256, done.mtime_ns)


def _strange(part: str) -> bool:
    return (
        part.startswith(".")
        or part != part.rstrip(". ")
        or len(os.fsencode(part)) > LONGEST_NAME
        or has_strange_character(part)
        or any(c in '\\:*?"<>|' for c in part)
    )


def _origin(entry: Record) -> tuple[str, str, str]:
    return entry.endpoint, entry.bucket, entry.key


def _read_record(path: Path) -> Record | None:
    try:
        told: Any = json.loads(record_path(path).read_text(encoding="utf-8"))
        entry = Record(**told)
    except (OSError, ValueError, TypeError):  # then it is a file that nothing is known about
        return None
    return entry if entry.format == FORMAT else None


def can_write(folder: Path) -> bool:
    """Say whether files can be made in `folder`, or in what exists of the way to it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _hash(path: Path, name: str) -> str:
    digest = hashlib.new(name, usedforsecurity=False)
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be read: {error.strerror}.",
            remedy="give the user that runs ComfyUI the right to read it",
        ) from None
    return digest.hexdigest()
