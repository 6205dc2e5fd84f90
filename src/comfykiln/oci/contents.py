"""Where the bytes of model files come from, and the bytes of layers made from them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from comfykiln.errors import KilnError
from comfykiln.oci.layers import Layer, ModelFile, digest_of
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

CHUNK = 1 << 20


class Contents(Protocol):
    """The bytes of model files."""

    def path(self, file: ModelFile) -> Path | None:
        """Return a local file that holds the verified bytes, or None where there is none."""

    def stream(self, file: ModelFile) -> AbstractContextManager[Iterator[bytes | memoryview]]:
        """Open the file's bytes in their order; other bytes than its sha256 raise at the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """The contents of a content-addressed store, whose files were verified when they came."""

    path_of: Callable[[str], Path]

    def path(self, file: ModelFile) -> Path | None:
        """Return the file in the store; raises `KilnError` when it is gone or has another size."""
        path = self.path_of(file.sha256)
        found = path.stat().st_size if path.is_file() else -1
        if found != file.size:
            what = "is not there" if found < 0 else f"has {found} bytes, not {file.size}"
            raise KilnError(
                f"{path}, the content of {file.path}, {what}",
                remedy="fetch the models again: `./kiln models.fetch`",
            )
        return path

    @contextmanager
    def stream(self, file: ModelFile) -> Iterator[Iterator[bytes | memoryview]]:
        """Open the file in the store."""
        path = self.path(file)
        assert path is not None  # noqa: S101  # a store has a path or raises
        with path.open("rb", buffering=0) as opened:
            yield iter(lambda: opened.read(CHUNK), b"")


def chunks(layer: Layer, contents: Contents) -> Iterator[bytes | memoryview]:
    """Yield the bytes of the layer in their order; raises `KilnError` when a file's size is off."""
    for piece in layer.pieces():
        if isinstance(piece, bytes):
            yield piece
        else:
            yield from only(piece, contents)


def only(file: ModelFile, contents: Contents) -> Iterator[bytes | memoryview]:
    """Yield the bytes of one file; raises `KilnError` when they are fewer or more than its size."""
    count = 0
    with contents.stream(file) as stream:
        for chunk in stream:
            count += len(chunk)
            if count > file.size:
                break
            yield chunk
    if count != file.size:
        raise KilnError(
            f"{file.path}: gave {'more' if count > file.size else count} bytes, not the "
            f"{file.size} that are locked",
            remedy="the source has changed: run `./kiln models.lock`",
        )


def chunks_from(layer: Layer, contents: Contents, offset: int) -> Iterator[bytes | memoryview]:
    """Yield the bytes of the layer from `offset` on; what lies before is read over."""
    for chunk in chunks(layer, contents):
        if offset < len(chunk):
            yield memoryview(chunk)[offset:] if offset else chunk
            offset = 0
        else:
            offset -= len(chunk)


def with_digest(layer: Layer, contents: Contents, cache: Path) -> Layer:
    """Return the layer with its digest, which is computed once and kept below `cache`.

    The cache is keyed by the packing rules, names and contents, so it never goes stale.
    """
    if layer.digest:
        return layer
    known = cache / f"{layer.key}.json"
    if known.is_file():
        return replace(layer, digest=str(json.loads(known.read_bytes())["digest"]))
    found = replace(layer, digest=digest_of(chunks(layer, contents)))
    files.write_bytes(known, files.canonical_json({"digest": found.digest}))
    return found
