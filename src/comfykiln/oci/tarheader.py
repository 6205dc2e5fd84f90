"""Tar headers of equal bytes: ustar, and a PAX record only where a name or a size needs one."""

from __future__ import annotations

# The time of every member, Unix seconds: that of the images' other files, but fixed for good.
MTIME = 1_760_000_000
BLOCK = 512
END = bytes(2 * BLOCK)
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755
_NAME_BYTES, _PREFIX_BYTES = 100, 155
_SIZE_LIMIT = 8 << 30


def file(name: str, size: int, *, blocks: int = 0) -> bytes:
    """Return the header blocks of a file of `size` bytes, readable by everybody.

    With `blocks`, a PAX comment is added that makes the header longer by as many blocks, at least
    two: what follows can so be put where a file system shares blocks instead of copying them.
    """
    return _header(name, size, folder=False, blocks=blocks)


def folder(name: str) -> bytes:
    """Return the header block of a folder."""
    return _header(f"{name}/", 0, folder=True)


def padding(size: int) -> bytes:
    """Return the zeros between a file of `size` bytes and the next header."""
    return bytes(-size % BLOCK)


def _header(name: str, size: int, *, folder: bool, blocks: int = 0) -> bytes:
    """Return the header blocks of one member."""
    records = {}
    encoded = name.encode()
    split = _split(encoded) if name.isascii() else None
    if split is None:
        records["path"] = name
        split = b"", name.encode("ascii", "replace")[:_NAME_BYTES]
    shown = size
    if size >= _SIZE_LIMIT:
        records["size"] = str(size)
        shown = 0
    kind, mode = (b"5", _FOLDER_MODE) if folder else (b"0", _FILE_MODE)
    return _comment(blocks) + _pax(records) + _block(split, shown, kind, mode)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Return (prefix, name) as ustar holds a name, or None when it cannot."""
    if len(name) <= _NAME_BYTES:
        return b"", name
    at = name.find(b"/", len(name) - _NAME_BYTES - 1)
    if 0 < at <= _PREFIX_BYTES and name[at + 1 :]:
        return name[:at], name[at + 1 :]
    return None


def _pax(records: dict[str, str]) -> bytes:
    if not records:
        return b""
    body = b"".join(_record(key, value) for key, value in sorted(records.items()))
    header = _block((b"", b"pax_header"), len(body), b"x", _FILE_MODE)
    return header + body + padding(len(body))


def _comment(blocks: int) -> bytes:
    """Return a PAX header of exactly `blocks` blocks that says nothing."""
    if not blocks:
        return b""
    length = (blocks - 1) * BLOCK
    body = b"%d comment=" % length
    body = body.ljust(length - 1, b" ") + b"\n"
    return _block((b"", b"pax_header"), length, b"x", _FILE_MODE) + body


def _record(key: str, value: str) -> bytes:
    """Return one PAX record, whose length counts its own digits."""
    rest = f" {key}={value}\n".encode()
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _block(split: tuple[bytes, bytes], size: int, kind: bytes, mode: int) -> bytes:
    prefix, name = split
    block = b"".join(
        [
            name.ljust(100, b"\0"),
            b"%07o\0" % mode,
            b"%07o\0" % 0,
            b"%07o\0" % 0,
            b"%011o\0" % size,
            b"%011o\0" % MTIME,
            b" " * 8,
            kind,
            bytes(100),
            b"ustar\x0000",
            bytes(32),
            bytes(32),
            b"%07o\0" % 0,
            b"%07o\0" % 0,
            prefix.ljust(155, b"\0"),
            bytes(12),
        ]
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
