"""The files of a `.cpack.zip`, read within limits: nothing is unpacked to disk."""

from __future__ import annotations

import zipfile
import zlib

from comfykiln.documents.comfypack.layout import MAX_ARCHIVE, REQUIREMENTS, SNAPSHOT, WORKFLOWS
from comfykiln.documents.formats import Written
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.limits import MAX_BYTES
from comfykiln.parsing.values import check_name, check_names_differ

MAX_MEMBERS = 2_000
MAX_TOTAL = 32 * 1024 * 1024
_ENTRY = b"PK\x01\x02"
_STORED_OR_DEFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_FILE_TYPES = (0o000000, 0o100000)


def members(data: bytes, source: str) -> dict[str, bytes]:
    """Return the pack's own files and its inputs, by name, from an archive's bytes.

    Raises `DocumentError` for a broken archive, `FaultyDocumentError` for members that no pack
    has: links, encrypted or oversized ones, names outside the pack.
    """
    import io  # noqa: PLC0415  # zip files only

    faults = Faults(source)
    if len(data) > MAX_ARCHIVE:
        faults.add("$", "archive.size", "more than 32 MB", remedy="leave inputs out")
        faults.stop()
    if data.count(_ENTRY) > MAX_MEMBERS:  # before zipfile builds a record for each
        faults.add("$", "archive.length", f"more than {MAX_MEMBERS} members")
        faults.stop()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            _check(infos, faults)
            faults.stop()
            files = {info.filename: _bytes(archive, info) for info in infos if _is_member(info)}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DocumentError(
            f"{source}: no intact zip archive: {error}", remedy="fetch it again"
        ) from error
    if SNAPSHOT not in files:
        raise DocumentError(
            f"{source}: holds no {SNAPSHOT}", remedy="name a .cpack.zip that comfy-pack wrote"
        )
    return files


def pack(written: Written) -> Written:
    """Return a written pack as one `.cpack.zip`; equal packs give equal bytes."""
    import io  # noqa: PLC0415  # zip files only

    buffer = io.BytesIO()
    files = sorted([(written.filename, written.data), *written.beside])
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o100644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return Written(kind=written.kind, filename="environment.cpack.zip", data=buffer.getvalue())


def _is_member(info: zipfile.ZipInfo) -> bool:
    return info.filename in (SNAPSHOT, REQUIREMENTS, *WORKFLOWS) or info.filename.startswith(
        "input/"
    )


def _check(infos: list[zipfile.ZipInfo], faults: Faults) -> None:
    if sum(info.file_size for info in infos if _is_member(info)) > MAX_TOTAL:
        faults.add("$", "archive.size", "more than 32 MB unpacked", remedy="leave inputs out")
    for info in infos:
        _check_member(info, faults)
    _check_twice(infos, faults)
    check_names_differ([(info.filename, info.filename) for info in infos], faults)


def _check_member(info: zipfile.ZipInfo, faults: Faults) -> None:
    name = info.filename
    if not all(check_name(part, name, faults) for part in name.split("/")):
        return
    for rule, bad, problem in (
        ("archive.encrypted", bool(info.flag_bits & _ENCRYPTED), "an encrypted member"),
        ("archive.method", info.compress_type not in _STORED_OR_DEFLATED, "an odd compression"),
        ("archive.link", info.external_attr >> 16 & 0o170000 not in _FILE_TYPES, "no plain file"),
        ("archive.size", _is_member(info) and info.file_size > MAX_BYTES, "more than 10 MB"),
    ):
        if bad:
            faults.add(name, rule, problem, remedy="pack it again with comfy-pack")


def _check_twice(infos: list[zipfile.ZipInfo], faults: Faults) -> None:
    seen: set[str] = set()
    for info in infos:
        if info.filename in seen:
            faults.add(info.filename, "archive.duplicate", "the member occurs twice")
        seen.add(info.filename)


def _bytes(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return a member's bytes, never more than its stated size."""
    with archive.open(info) as member:
        data = member.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename} is not as long as it says")
    return data
