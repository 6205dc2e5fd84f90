"""Read a zip archive of unknown origin: every member checked before any is given out."""

from __future__ import annotations

import stat
import zipfile
import zlib
from typing import TYPE_CHECKING, Final

from comfykiln.errors import DocumentError
from comfykiln.parsing.tarballs import name_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAX_MEMBERS: Final = 20_000
MAX_BYTES: Final = 2 << 30
SHOWN: Final = 5
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 1


def read_zip(path: Path, title: str) -> dict[str, bytes]:
    """Return the files of the archive, name to bytes, in the archive's order.

    Folders are left out. Raises `DocumentError` that names the first members at fault: a name that
    leaves the folder, comes twice (also where case is ignored) or is a folder elsewhere; a link or
    device; an encrypted member; damage; more than 20,000 members or 2 GiB unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            faults = [*_whole(members), *(line for member in members for line in _member(member))]
            faults += list(_clashes([member.filename for member in members]))
            _refuse(title, faults)
            return {
                member.filename: archive.read(member) for member in members if not member.is_dir()
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise DocumentError(
            f"{title} is no sound zip archive: {error}",
            remedy="fetch it again; where that does not help, pin another version",
        ) from error


def _whole(members: Sequence[zipfile.ZipInfo]) -> Iterator[str]:
    if not members:
        yield "it is empty"
    if len(members) > MAX_MEMBERS:
        yield f"{len(members)} members are more than {MAX_MEMBERS}"
    size = sum(member.file_size for member in members)
    if size > MAX_BYTES:
        yield f"{size} bytes unpacked are more than {MAX_BYTES}"


def _member(info: zipfile.ZipInfo) -> Iterator[str]:
    name = info.filename.removesuffix("/") if info.is_dir() else info.filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    if fault := name_fault(name):
        yield f"{info.orig_filename!a}: {fault}"
    elif info.orig_filename != info.filename:
        yield f"{info.orig_filename!a}: has a byte 0 or a backslash"
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        yield f"{name}: is a link or device"
    if info.flag_bits & _ENCRYPTED:
        yield f"{name}: is encrypted"
    if info.compress_type not in _METHODS:
        yield f"{name}: is packed by a method that is not known here"


def _clashes(names: Sequence[str]) -> Iterator[str]:
    """Yield names that mean one file where case is ignored, and files that are folders as well."""
    seen: set[str] = set()
    files = {name.casefold() for name in names if not name.endswith("/")}
    for name in names:
        key = name.casefold()
        if key in seen:
            yield f"{name}: comes twice"
        seen.add(key)
        parts = key.removesuffix("/").split("/")
        above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        if above & files or (name.endswith("/") and key.removesuffix("/") in files):
            yield f"{name}: is a file and a folder"


def _refuse(title: str, faults: Sequence[str]) -> None:
    if faults:
        more = [f"… and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise DocumentError(
            f"{title} is refused; nothing was unpacked",
            faults=[*faults[:SHOWN], *more],
            remedy="pin another version, or the node's repository and commit",
        )
