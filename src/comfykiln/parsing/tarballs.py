"""Reads `.tar.gz` files of unknown origin without trusting them, and writes deterministic ones.

Nothing is ever unpacked to disk here: a reader gets the bytes of every member, or one error.
"""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import unicodedata
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Final, cast

from comfykiln.errors import DocumentError, KilnError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

MIB: Final = 1 << 20
CHUNK: Final = MIB
SHOWN_FAULTS: Final = 20

_PLAIN_FILES: Final = (tarfile.REGTYPE, tarfile.AREGTYPE)
_KINDS: Final = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
# What tarfile lets through from a malformed pax or sparse header, or from a long chain of headers.
_PARSER_SLIPS: Final = (ValueError, RecursionError)
_REMEDY: Final = "ask the sender for a tarball of plain files and folders; nothing was unpacked"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a tarball may cost its reader; sizes in bytes, lengths in UTF-8 bytes."""

    compressed: int = 64 * MIB
    member: int = 64 * MIB
    total: int = 256 * MIB
    members: int = 20_000
    name: int = 1_024
    depth: int = 32


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """The files of a tarball, name to bytes in its order, and which of them can be executed."""

    members: dict[str, bytes]
    executable: frozenset[str]


def read_members(path: Path, limits: Limits = DEFAULT_LIMITS) -> dict[str, bytes]:
    """Return the files of a tarball, name to bytes; as `unpack`, without their modes."""
    return unpack(path, limits).members


def unpack(path: Path, limits: Limits = DEFAULT_LIMITS) -> Unpacked:
    """Return the files of a gzip-compressed tarball, in the archive's order.

    Folders are checked and left out; a leading `./` is dropped from names.
    The first pass looks at every member without keeping any data, the second reads them, so that
    a bad last member or a bomb costs no memory.
    Raises `DocumentError` naming each member that is no plain file or folder, or whose name is
    absolute, climbs, repeats, or falls together with another where case or Unicode form is
    ignored; and for a file that is damaged or larger than `limits`.
    """
    with _open_stream(path, limits) as stream:
        _check(stream, path, limits)
        stream.seek(0)
        members: dict[str, bytes] = {}
        executable = set()
        for info in _open(stream):
            if info.type in _PLAIN_FILES:
                members[_clean(info.name)] = stream.data(info)
                if info.mode & stat.S_IXUSR:
                    executable.add(_clean(info.name))
        return Unpacked(members=members, executable=frozenset(executable))


def write_members(
    members: Mapping[str, bytes], epoch: int, *, executable: Collection[str] = ()
) -> bytes:
    """Return `plain_tar` of the arguments, compressed; the gzip header has neither name nor time.

    The bytes are equal for equal arguments and the same zlib.
    """
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(plain_tar(members, epoch, executable=executable))
    return packed.getvalue()


def plain_tar(
    members: Mapping[str, bytes], epoch: int, *, executable: Collection[str] = ()
) -> bytes:
    """Return an uncompressed tar archive with `members`, equal bytes for equal arguments.

    Names are sorted, owner and group are 0 without names, times are `epoch` (Unix seconds), modes
    644, or 755 for the names in `executable`.
    Raises `DocumentError` for a name that `read_members` would refuse.
    """
    faults = _NameCheck(DEFAULT_LIMITS)
    for name in sorted(members):
        faults.add(name, folder=False)
    if faults.found:
        raise DocumentError(
            "these names cannot go into a tarball", faults=faults.found, remedy="rename the files"
        )
    plain = io.BytesIO()
    with tarfile.open(
        fileobj=plain, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8"
    ) as archive:
        for name in sorted(members):
            info = tarfile.TarInfo(name)
            info.size = len(members[name])
            info.mtime = epoch
            info.mode = 0o755 if name in executable else 0o644
            archive.addfile(info, io.BytesIO(members[name]))
    return plain.getvalue()


def name_fault(name: str, limits: Limits = DEFAULT_LIMITS) -> str:
    """Return why `name` may not be a member's name, or "" where it may."""
    parts = name.split("/")
    rules = {
        "is no valid UTF-8": any("\ud800" <= char <= "\udfff" for char in name),
        "is absolute": name.startswith("/"),
        "climbs out with '..'": ".." in parts,
        "has an empty or '.' part": any(part in {"", "."} for part in parts),
        "has a backslash": "\\" in name,
        "has a control character": any(unicodedata.category(char) == "Cc" for char in name),
        f"is longer than {limits.name} bytes": len(name.encode(errors="replace")) > limits.name,
        f"is deeper than {limits.depth} folders": len(parts) > limits.depth,
    }
    return next((rule for rule, broken in rules.items() if broken), "")


class _NameCheck:
    """Collects the faults of member names; no two may mean one file, whatever the file system."""

    def __init__(self, limits: Limits) -> None:
        self.found: list[str] = []
        self._limits = limits
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def add(self, name: str, *, folder: bool) -> None:
        """Look at the next name; `folder` says that it is one."""
        if fault := name_fault(name, self._limits):
            self.found.append(f"{name!a}: the name {fault}")
            return
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            self._add_folder(str(parent))
        if folder:
            self._add_folder(name)
        else:
            self._add_file(name)

    def _add_folder(self, name: str) -> None:
        key = _fold(name)
        self._meets(name, self._files.get(key), "is both a file and a folder")
        self._meets(name, self._folders.setdefault(key, name), "")

    def _add_file(self, name: str) -> None:
        key = _fold(name)
        self._meets(name, self._folders.get(key), "is both a file and a folder")
        self._meets(name, self._files.get(key), "occurs twice")
        self._files.setdefault(key, name)

    def _meets(self, name: str, earlier: str | None, if_equal: str) -> None:
        """Note the fault of `name` meeting `earlier`, which has the same folded form."""
        if earlier is None:
            return
        if earlier != name:
            self.found.append(f"{name!a}: the same as {earlier!a} but for case or Unicode form")
        elif if_equal:
            self.found.append(f"{name!a}: {if_equal}")


class _Bounded(io.RawIOBase):
    """A decompressed tar stream that refuses to give more than the limits allow.

    tarfile asks for a whole header record at once, so one read of it is bounded like a name table
    must be; data is read by `data`, in chunks.
    """

    def __init__(self, plain: gzip.GzipFile, path: Path, limits: Limits) -> None:
        self._plain = plain
        self._path = path
        self._limits = limits

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._plain.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if offset > self._limits.total:
            raise _too_much(self._path, f"it unpacks to over {offset} bytes", self._limits.total)
        return self._plain.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= CHUNK:
            raise _too_much(self._path, f"a header claims {size} bytes", CHUNK)
        return self._plain.read(size)

    def data(self, info: tarfile.TarInfo) -> bytes:
        """Return the bytes of a member."""
        self.seek(info.offset_data)
        data = self._plain.read(info.size)
        if len(data) != info.size:
            raise EOFError(f"the data of {info.name!a} ends early")
        return data

    def rest_is_zero(self, start: int) -> bool:
        """Say whether an end mark of zeros, and nothing else, follows `start`; reads to the end."""
        self.seek(start)
        length = 0
        while block := self._plain.read(CHUNK):
            length += len(block)
            if block.strip(b"\0"):
                return False
            self.seek(start + length)
        return length >= tarfile.BLOCKSIZE


@contextmanager
def _open_stream(path: Path, limits: Limits) -> Iterator[_Bounded]:
    """Open `path` for reading; what tarfile, gzip and zlib raise becomes a `DocumentError`."""
    if not path.is_file():
        raise DocumentError(f"{path}: no such file", remedy="name an existing .tar.gz file")
    if (size := path.stat().st_size) > limits.compressed:
        raise _too_much(path, f"the file has {size} bytes", limits.compressed)
    try:
        with path.open("rb") as raw, gzip.GzipFile(fileobj=raw, mode="rb") as plain:
            yield _Bounded(plain, path, limits)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, *_PARSER_SLIPS) as error:
        raise DocumentError(
            f"{path}: not a whole .tar.gz file: {error}", remedy="fetch or make the file again"
        ) from error
    except OSError as error:
        raise KilnError(
            f"{path}: cannot be read: {error.strerror}", remedy="look at its owner, mode and disk"
        ) from error


def _check(stream: _Bounded, path: Path, limits: Limits) -> None:
    """Look at every member of the archive; raise `DocumentError` with all their faults."""
    names = _NameCheck(limits)
    archive = _open(stream)
    for count, info in enumerate(archive, 1):
        if count > limits.members:
            raise _too_much(path, f"it has more than {limits.members} members", limits.members)
        if info.size < 0:
            raise tarfile.ReadError(f"{info.name!a} claims {info.size} bytes")
        if info.size > limits.member:
            raise _too_much(path, f"{info.name!a} has {info.size} bytes", limits.member)
        if not _is_root(info):
            names.add(_clean(info.name), folder=info.isdir())
            names.found.extend(_kind_faults(info))
    if not stream.rest_is_zero(archive.offset):
        names.found.append(
            f"damaged at byte {archive.offset} of the unpacked data: no member there"
        )
    if names.found:
        raise DocumentError(
            f"{path}: refused, not a safe tarball", faults=_some(names.found), remedy=_REMEDY
        )


def _open(stream: _Bounded) -> tarfile.TarFile:
    fileobj = cast("IO[bytes]", stream)
    return tarfile.open(fileobj=fileobj, mode="r:", encoding="utf-8", errors="surrogateescape")


def _kind_faults(info: tarfile.TarInfo) -> Iterator[str]:
    if info.sparse is not None:
        yield f"{info.name!a}: is a sparse file"
    elif info.type in _KINDS:
        target = f" to {info.linkname!a}" if info.linkname else ""
        yield f"{info.name!a}: is {_KINDS[info.type]}{target}"
    elif info.type not in (*_PLAIN_FILES, tarfile.DIRTYPE):
        yield f"{info.name!a}: is of the unknown type {info.type!r}"
    if info.isreg() and info.mode & 0o7000:
        yield f"{info.name!a}: has the special mode {info.mode & 0o7777:o}"


def _is_root(info: tarfile.TarInfo) -> bool:
    return info.isdir() and info.name in {".", "./"}


def _clean(name: str) -> str:
    return name.removeprefix("./")


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _some(faults: list[str]) -> list[str]:
    more = len(faults) - SHOWN_FAULTS
    return faults if more <= 0 else [*faults[:SHOWN_FAULTS], f"… and {more} more"]


def _too_much(path: Path, what: str, limit: int) -> DocumentError:
    return DocumentError(
        f"{path}: refused, {what} (limit {limit})",
        remedy="an export tarball holds kilobytes; models and caches do not belong into it",
    )
