"""Take the pinned files out of a tar archive: checked whole, then written, trusted in nothing."""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError
from comfykiln.origins.filelist import is_inside
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from comfykiln.origins.filelist import PinnedFile
    from comfykiln.plan.origins import Correction

MAX_MEMBERS = 100_000
MAX_BYTES = 4 << 30
SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeArchive:
    """A tar archive and the folder in it that holds the tree.

    `title` names it in messages; `folder` is '' for the whole archive; `strip` is the number of
    leading path parts that are no part of it (1 for a source distribution's top folder);
    `corrections` are made before the bytes are compared.
    """

    path: Path
    title: str
    folder: str = ""
    strip: int = 0
    corrections: tuple[Correction, ...] = ()


def extract(archive: TreeArchive, target: Path, pinned: Mapping[str, PinnedFile]) -> None:
    """Write exactly the pinned files below the empty folder `target`, each with its own sha256.

    Before anything is written the whole archive is checked: a path that leaves its folder, a link
    or device in the tree, a name that comes twice, or too much of anything is refused. Raises
    `KilnError` that names the first members at fault or the first files that differ.
    """
    changes = {correction.path: correction for correction in archive.corrections}
    try:
        with tarfile.open(archive.path, "r:*") as tar:
            members = _checked(tar, archive)
            faults = [f"{name}: missing" for name in sorted(pinned.keys() - members.keys())]
            _refuse(archive, faults, "is not the pinned tree")
            # In the archive's own order: going back in a compressed one starts it anew.
            for name in sorted(pinned, key=lambda name: members[name].offset):
                data = _bytes(tar, members[name])
                if name in changes:
                    data = _corrected(data, changes[name], archive)
                if hashlib.sha256(data).hexdigest() != pinned[name].sha256:
                    faults.append(f"{name}: other bytes than pinned")
                else:
                    _write(target / name, data, pinned[name].mode)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the archive's
        raise KilnError(
            f"{archive.title} is a damaged archive: {error}",
            remedy="remove the file and start again; it is fetched anew",
        ) from error
    _refuse(archive, sorted(faults), "is not the pinned tree")


def _checked(tar: tarfile.TarFile, archive: TreeArchive) -> dict[str, tarfile.TarInfo]:
    """Return path in the tree → member, after looking at every member of the archive."""
    found: dict[str, tarfile.TarInfo] = {}
    faults: list[str] = []
    total = 0
    for number, member in enumerate(tar, 1):
        total += member.size
        if number > MAX_MEMBERS or total > MAX_BYTES:
            faults.append(f"more than {MAX_MEMBERS} members or {MAX_BYTES} bytes")
            break
        if not is_inside(member.name):
            faults.append(f"{member.name!r}: leaves the archive's folder")
            continue
        name = _name_in_tree(member.name, archive)
        if name is None or member.isdir():
            continue
        if not member.isreg():
            faults.append(f"{member.name}: is a link or device")
        elif name in found:
            faults.append(f"{member.name}: comes twice")
        found[name] = member
    _refuse(archive, faults, "is refused")
    return found


def _name_in_tree(name: str, archive: TreeArchive) -> str | None:
    inner = "/".join(name.split("/")[archive.strip :])
    if not archive.folder:
        return inner
    prefix = f"{archive.folder}/"
    return inner.removeprefix(prefix) if inner.startswith(prefix) else None


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write one file of a folder that gets its name as a whole, and is hashed at each use.

    That is why no fsync is spent here: 830 of them take seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)
    path.chmod(mode)


def _corrected(data: bytes, correction: Correction, archive: TreeArchive) -> bytes:
    """Replace the one line that differs; anything but exactly one is an error."""
    lines = data.split(b"\n")
    places = [number for number, line in enumerate(lines) if line == correction.old.encode()]
    if len(places) != 1:
        raise KilnError(
            f"{archive.title}: {correction.path} has {correction.old!r} {len(places)} times",
            remedy="check `corrections` in images/origins.yaml against the archive",
        )
    lines[places[0]] = correction.new.encode()
    return b"\n".join(lines)


def _refuse(archive: TreeArchive, faults: Sequence[str], what: str) -> None:
    if faults:
        shown = "".join(f"\n  {fault}" for fault in faults[:SHOWN])
        more = f"\n  … and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise KilnError(
            f"{archive.title} {what}:{shown}{more}",
            remedy="do not trust that origin; check the pin in images/origins.yaml",
        )


def pieces(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, 1 MiB at a time."""
    with path.open("rb") as file:
        while chunk := file.read(files.CHUNK):
            yield chunk
