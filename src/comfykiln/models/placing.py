"""Put stored models where ComfyUI looks for them: in a folder, or as mounts of a container."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING

from comfykiln.errors import NotPossibleError
from comfykiln.models import store
from comfykiln.system import files
from comfykiln.system.store import Store
from comfykiln.transfer.partfile import part_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from comfykiln.models.records import LockedModel

MODE = 0o644
CHUNK = 1 << 24
# What file systems say that cannot copy from one to another.
NOT_ACROSS = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def place(model: LockedModel, folder: Path) -> Path:
    """Copy the stored file to its destination below `folder` and return that path.

    A file of the same size and content that is there already stays; any other is replaced. It
    appears under its name only when it is whole; folders that are links are not followed out of
    `folder`. Raises `NotPossibleError` when the disk or the folder refuses.
    """
    target = folder / model.destination
    source = store.path_of(model.sha256)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(folder.resolve()):
            raise NotPossibleError(
                f"{target.parent} leads out of {folder}", remedy="remove the link there"
            )
        if not _is_there(target, model):
            _copy(source, target)
            files.write_bytes(_record(target), _state(target, model.sha256))
    except OSError as error:
        with contextlib.suppress(OSError):  # as the first one, where the folder is none
            part_path(target).unlink(missing_ok=True)
        raise NotPossibleError(
            f"{target} cannot be written: {error.strerror}",
            remedy="make room for it there, or name another folder",
        ) from error
    return target


def mounts(models: Sequence[LockedModel]) -> tuple[list[str], list[str]]:
    """Return `docker run` arguments that show the stored models at their destinations.

    Read-only, without copying a byte. The second list names the models that the store lacks.
    """
    arguments, missing = [], []
    for model in models:
        path = store.path_of(model.sha256)
        if store.known(model.sha256) is None:
            missing.append(model.name)
            continue
        fields = ("type=bind", f"source={path}", f"target=/app/models/{model.destination}")
        arguments.append(f"--mount={','.join(map(csv_field, fields))},readonly")
    return arguments, missing


def csv_field(field: str) -> str:
    """Return one field of docker's --mount, which is a line of CSV."""
    return '"' + field.replace('"', '""') + '"' if any(c in field for c in '",') else field


def _is_there(target: Path, model: LockedModel) -> bool:
    """Tell whether the file is there; it is read only if it was touched since it was noted."""
    if target.is_symlink() or not target.is_file() or target.stat().st_size != model.size:
        return False
    record = _record(target)
    if record.is_file() and record.read_bytes() == _state(target, model.sha256):
        return True
    if files.sha256_file(target) != model.sha256:
        return False
    files.write_bytes(record, _state(target, model.sha256))
    return True


def _record(target: Path) -> Path:
    key = files.sha256(str(target.absolute()).encode())
    return Store.of_user().root / "models" / "placed" / key


def _state(target: Path, sha256: str) -> bytes:
    status = target.stat()
    return f"{sha256} {status.st_size} {status.st_mtime_ns} {status.st_ino}\n".encode()


def _copy(source: Path, target: Path) -> None:
    """Copy by the file system's own means (a reflink where it can), then rename."""
    part = part_path(target)
    with source.open("rb") as read, part.open("wb") as write:
        try:
            while os.copy_file_range(read.fileno(), write.fileno(), CHUNK):
                pass
        except OSError as error:
            if error.errno not in NOT_ACROSS:
                raise
        # What the call has not copied, be it nothing or all, the usual way copies.
        shutil.copyfileobj(read, write, CHUNK)
        write.flush()
        os.fchmod(write.fileno(), MODE)
        os.fsync(write.fileno())
    part.replace(target)
