"""The workflow inside the PNG and WebP files that ComfyUI saves; pictures are not decoded."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn

from comfykiln.documents.workflow.layout import PNG, is_webp
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import refuse
from comfykiln.parsing.limits import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TEXT_CHUNKS: Final = (b"tEXt", b"zTXt", b"iTXt", b"comf")
_KEYS: Final = ("workflow", "prompt")
"""The editor's form tells packs and models, so it comes before the one the server ran."""
_NO_GRAPH: Final = (b"", b"{}", b"null")
"""What programs that talk to the server put where the editor's graph would be."""
_MAX_CHUNKS: Final = 100_000
_ASCII: Final = 2
_ENTRY: Final = 12
_LONGEST_KEY: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """A workflow's JSON inside an image, and which kind of image: `png` or `webp`."""

    data: bytes
    container: str


def find(path: Path) -> Embedded | None:
    """Return the workflow in the image at `path`, None when the file is no PNG or WebP.

    Only metadata is read, so that the picture's size does not count.
    Raises `DocumentError` for an image without a workflow, `FaultyDocumentError` for a broken one.
    """
    if not path.is_file():
        return None  # `load` tells what is wrong with it
    with path.open("rb") as file:
        return _find(file, str(path))


def find_in(data: bytes, source: str) -> Embedded | None:
    """Return the workflow in an image's bytes, None when they are no PNG or WebP."""
    return _find(io.BytesIO(data), source)


def _find(file: BinaryIO, source: str) -> Embedded | None:
    head = file.read(12)
    if head.startswith(PNG):
        file.seek(len(PNG))
        return _choose(dict(_png_texts(file, source)), "png", source)
    if is_webp(head):
        return _choose(dict(_webp_texts(file, source)), "webp", source)
    return None


def _choose(texts: dict[str, bytes], container: str, source: str) -> Embedded:
    for key in _KEYS:
        if texts.get(key, b"").strip() not in _NO_GRAPH:
            return Embedded(data=texts[key], container=container)
    raise DocumentError(
        f"{source}: the {container} file holds no workflow",
        remedy="take the file that ComfyUI saved: editors and chat services remove metadata",
    )


def _png_texts(file: BinaryIO, source: str) -> Iterator[tuple[str, bytes]]:
    """Yield keyword and text of the first text chunk of each keyword, in UTF-8."""
    seen: set[str] = set()
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:  # noqa: PLR2004  # length and type
            _refuse(source, "it ends before its last chunk")
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return
        if kind in _TEXT_CHUNKS:
            data = _read_whole(file, length, source)
            if struct.pack(">I", zlib.crc32(kind + data)) != file.read(4):
                _refuse(source, f"the checksum of a {kind.decode()} chunk is wrong")
            yield from _png_text(kind, data, seen, source)
        else:
            file.seek(length + 4, io.SEEK_CUR)
    _refuse(source, f"it has more than {_MAX_CHUNKS:,} chunks")


def _png_text(kind: bytes, data: bytes, seen: set[str], source: str) -> Iterator[tuple[str, bytes]]:
    keyword, _, rest = data.partition(b"\0")
    key = keyword.decode("latin-1").lower()
    if key not in _KEYS or key in seen:
        return  # a keyword's second text is not unpacked: there may be thousands
    seen.add(key)
    if kind == b"zTXt":
        yield key, _utf8(_inflate(rest[1:], source))
    elif kind == b"iTXt":
        is_packed, text = rest[:1] == b"\x01", rest[2:].split(b"\0", 2)[-1]
        yield key, _inflate(text, source) if is_packed else text
    else:
        yield key, _utf8(rest)


def _utf8(text: bytes) -> bytes:
    """Return latin-1 text as UTF-8; what is UTF-8 already, against the format, stays."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1").encode()
    return text


def _inflate(data: bytes, source: str) -> bytes:
    packer = zlib.decompressobj()
    try:
        found = packer.decompress(data, MAX_BYTES + 1)
    except zlib.error as error:
        _refuse(source, f"a compressed text cannot be unpacked: {error}")
    if len(found) > MAX_BYTES:
        _too_large(source)
    return found


def _webp_texts(file: BinaryIO, source: str) -> Iterator[tuple[str, bytes]]:
    """Yield what the EXIF chunk holds as `key:text`."""
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:  # noqa: PLR2004  # name and length
            return
        kind, length = struct.unpack("<4sI", head)
        if kind == b"EXIF":
            yield from _exif_texts(_read_whole(file, length, source), source)
            return
        file.seek(length + length % 2, io.SEEK_CUR)
    _refuse(source, f"it has more than {_MAX_CHUNKS:,} chunks")


def _exif_texts(data: bytes, source: str) -> Iterator[tuple[str, bytes]]:
    """Yield the texts of the first directory of EXIF data that begin with a known key."""
    tiff = data.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        _refuse(source, "its EXIF data has no byte order")
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        seen: set[str] = set()
        for index in range(count):
            entry = struct.unpack_from(f"{order}HHI", tiff, start + 2 + index * _ENTRY)
            (offset,) = struct.unpack_from(f"{order}I", tiff, start + 2 + index * _ENTRY + 8)
            # Thousands of entries may name the same megabytes: only a key's first text is copied.
            key = _exif_key(tiff[offset : offset + min(entry[2], _LONGEST_KEY)])
            if entry[1] == _ASCII and key in _KEYS and key not in seen:
                seen.add(key)
                text = tiff[offset : offset + entry[2]].rstrip(b"\0")
                yield key, _utf8(text.partition(b":")[2])
    except struct.error as error:
        _refuse(source, f"its EXIF data ends early: {error}")


def _exif_key(start: bytes) -> str:
    """Return the word before the first colon, empty where there is none."""
    key, colon, _ = start.partition(b":")
    return key.decode("latin-1").strip().lower() if colon else ""


def _read_whole(file: BinaryIO, length: int, source: str) -> bytes:
    if length > MAX_BYTES:
        _too_large(source)
    data = file.read(length)
    if len(data) < length:
        _refuse(source, "it ends inside its metadata")
    return data


def _too_large(source: str) -> NoReturn:
    refuse(
        source,
        "$",
        "reading.size",
        f"the text inside the image is larger than {MAX_BYTES:,} bytes",
        expected=f"at most {MAX_BYTES:,} bytes",
        remedy="save the workflow itself as JSON",
    )


def _refuse(source: str, why: str) -> NoReturn:
    refuse(
        source,
        "$",
        "workflow.image",
        f"the image is damaged: {why}",
        expected="a whole PNG or WebP file",
        remedy="take the file that ComfyUI saved",
    )
