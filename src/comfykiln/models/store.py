"""The verified model files of this user's store, and what is known of them without reading them.

Beside the files, which lie where every other file of the store lies, `models/<sha256>.json` notes
size, time stamp and inode at the moment of verification, and the layer digests. A file that still
has these is not read again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from comfykiln.system import files
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What was noted when a file's sha256 was found right; `layers` are digests by layer key."""

    size: int
    mtime_ns: int
    inode: int
    layers: Mapping[str, str] = field(default_factory=dict)


def path_of(sha256: str) -> Path:
    """Return where the model with this sha256 lies in the store of this user, or would lie."""
    return Store.of_user().path(sha256)


def known(sha256: str) -> Verified | None:
    """Return what is noted of the file, None where it is not there as it was verified.

    Reads the note alone, never the file: the time does not depend on its size.
    """
    note = _read(sha256)
    if note is None:
        return None
    try:
        status = path_of(sha256).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    same = (status.st_size, status.st_mtime_ns, status.st_ino)
    return note if same == (note.size, note.mtime_ns, note.inode) else None


def note(
    sha256: str, layers: Mapping[str, str] | None = None, *, path: Path | None = None
) -> Verified:
    """Note that the file's bytes have just been found right, and `layers` in addition.

    `path` is where the file lies now, if it is only about to get its name.
    """
    status = (path or path_of(sha256)).stat()
    before = _read(sha256)
    noted = Verified(
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        inode=status.st_ino,
        layers={**(before.layers if before else {}), **(layers or {})},
    )
    value = {
        "size": noted.size,
        "mtime_ns": noted.mtime_ns,
        "inode": noted.inode,
        "layers": dict(noted.layers),
    }
    files.write_bytes(_note_path(sha256), files.canonical_json(value))
    return noted


def verified(sha256: str) -> bool:
    """Tell whether the file is in the store and right.

    A file that was touched since it was verified is read once; a damaged one is removed.
    """
    if known(sha256) is not None:
        return True
    if not Store.of_user().has(sha256):
        return False
    note(sha256)
    return True


def _note_path(sha256: str) -> Path:
    return Store.of_user().root / "models" / sha256[:2] / f"{sha256}.json"


def _read(sha256: str) -> Verified | None:
    try:
        value = json.loads(_note_path(sha256).read_text(encoding="utf-8"))
        layers = {str(key): str(digest) for key, digest in value["layers"].items()}
        return Verified(
            size=int(value["size"]),
            mtime_ns=int(value["mtime_ns"]),
            inode=int(value["inode"]),
            layers=layers,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # whatever cannot be read counts as not noted: the file is read once
