"""Write git objects as a pack whose bytes depend on nothing but the objects.

Packs that git writes differ by its version, threads and zlib. What a build step receives must be
equal on every machine, so the objects go in by the order of their names, undivided, uncompressed.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError
from comfykiln.git import command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

KINDS = {"commit": 1, "tree": 2, "blob": 3}
# The most that a stored block of deflate can hold.
BLOCK = 65535


@dataclass(frozen=True, kw_only=True, slots=True)
class GitObject:
    """One object: its 40 hex digits, its kind, its bytes without git's header."""

    name: str
    kind: str
    data: bytes


def pack(objects: Iterable[GitObject]) -> bytes:
    """Return a version 2 pack of the objects, sorted by name."""
    ordered = sorted(objects, key=lambda entry: entry.name)
    body = bytearray(b"PACK" + struct.pack(">II", 2, len(ordered)))
    for entry in ordered:
        body += _head(KINDS[entry.kind], len(entry.data)) + _stored(entry.data)
    return bytes(body) + hashlib.sha1(body, usedforsecurity=False).digest()


def read_objects(repository: Path, names: Sequence[str]) -> Iterator[GitObject | str]:
    """Yield each named object of the repository, or its name alone where it is missing.

    The bytes are hashed again: an object that is not what its name says is a `KilnError`.
    """
    asked = "".join(f"{name}\n" for name in names).encode()
    text = command.git_bytes("cat-file", "--batch", repository=repository, stdin=asked)
    place = 0
    while place < len(text):
        end = text.index(b"\n", place)
        words = text[place:end].decode("ascii").split()
        if words[-1] == "missing":
            yield words[0]
            place = end + 1
            continue
        name, kind, size = words[0], words[1], int(words[2])
        data = text[end + 1 : end + 1 + size]
        _require_true(repository, name, kind, data)
        yield GitObject(name=name, kind=kind, data=data)
        place = end + size + 2


def _require_true(repository: Path, name: str, kind: str, data: bytes) -> None:
    head = f"{kind} {len(data)}\0".encode()
    found = hashlib.sha1(head + data, usedforsecurity=False).hexdigest()
    if found != name:
        raise KilnError(
            f"{repository}: the object {name} holds other bytes ({found})",
            remedy="the repository is damaged: clone it anew",
        )


def _head(kind: int, size: int) -> bytes:
    """Return the kind and the size as packs have them: four bits first, then seven at a time."""
    head = bytearray()
    byte, rest = (kind << 4) | (size & 15), size >> 4
    while rest:
        head.append(byte | 0x80)
        byte, rest = rest & 0x7F, rest >> 7
    head.append(byte)
    return bytes(head)


def _stored(data: bytes) -> bytes:
    """Return `data` as a zlib stream of stored blocks."""
    stream = bytearray(b"\x78\x01")
    for start in range(0, max(len(data), 1), BLOCK):
        block = data[start : start + BLOCK]
        last = start + BLOCK >= len(data)
        stream += struct.pack("<BHH", int(last), len(block), len(block) ^ 0xFFFF) + block
    return bytes(stream) + struct.pack(">I", zlib.adler32(data))
