"""Write an image archive in one pass: every blob goes to its own place in the file, in any order.

Names and sizes give the place of every byte beforehand, so the file is the same every time, blobs
arrive side by side, and models are copied by the kernel, or shared where the file system can.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError, KilnError, NotPossibleError
from comfykiln.oci import archive, contents, local, tarheader
from comfykiln.oci.layers import ModelFile
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from io import BufferedIOBase
    from pathlib import Path

    import docker

    from comfykiln.engine.engine import Engine
    from comfykiln.oci.contents import Contents
    from comfykiln.oci.images import Image
    from comfykiln.oci.layers import Layer

CHUNK = 1 << 20
# What file systems that share blocks between files want offsets to be multiples of.
SHARED_BLOCK = 4096
GB = 1_000_000_000
# Where the kernel does not copy between these two files: then it is read and written.
_NO_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF}


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where everything goes: small pieces by offset, blobs by digest, and the size of the file."""

    pieces: Mapping[int, bytes]
    blobs: Mapping[str, int]
    size: int


def write(
    client: docker.DockerClient,
    engine: Engine,
    base: str,
    image: Image,
    models: Sequence[Layer],
    source: Contents,
    path: Path,
    *,
    ref: str,
) -> int:
    """Write `image`, named `ref`, to `path`, and return its size in bytes.

    `base` is the engine's image that has all layers but `models`. An old file is replaced when all
    went well, and untouched otherwise.
    """
    if not engine.containerd_store:
        raise NotPossibleError(
            "an engine with the overlay2 image store does not hand out layers as they are",
            remedy="switch it to the containerd image store (docs/setup.md)",
        )
    if path.is_dir():
        raise DocumentError(f"{path} is a folder", remedy="name a file: --archive FILE")
    places = arranged(image, models, ref)
    path.parent.mkdir(parents=True, exist_ok=True)
    _require_space(path, places.size)
    with _explained(path), files.replacing(path) as file:
        handle = file.fileno()
        os.posix_fallocate(handle, 0, places.size)
        for offset, data in places.pieces.items():
            _write_at(handle, data, offset)
        own = {layer.digest for layer in models}
        wanted = {layer.digest: layer.size for layer in image.layers if layer.digest not in own}
        sink = _Blobs(handle=handle, places=places, wanted=wanted)
        local.push(client, base, sink)
        sink.require_all()
        for layer in models:
            _write_layer(handle, layer, source, places.blobs[layer.digest])
    return places.size


def arranged(image: Image, models: Sequence[Layer], ref: str) -> Places:
    """Return where each part of the archive goes; pure."""
    pieces: dict[int, bytes] = {}
    blobs: dict[str, int] = {}
    offset = 0

    def add(data: bytes) -> None:
        nonlocal offset
        pieces[offset] = data
        offset += len(data)

    add(b"".join(archive.member(name, data) for name, data in archive.front(image, ref)))
    alone = {layer.digest: layer for layer in models if len(layer.files) == 1}
    for blob in image.layers:
        if blob.digest in blobs:
            continue  # an image may have a layer twice, an archive has it once
        name, inner = archive.blob_name(blob.digest), _before_content(alone.get(blob.digest))
        plain = tarheader.file(name, blob.size)
        add(tarheader.file(name, blob.size, blocks=_shift(offset + len(plain) + inner)))
        blobs[blob.digest] = offset
        offset += blob.size
        add(tarheader.padding(blob.size))
    add(tarheader.END)
    return Places(pieces=pieces, blobs=blobs, size=offset)


@dataclass(frozen=True, kw_only=True)
class _Blobs:
    """A sink that writes each blob to its place."""

    handle: int
    places: Places
    wanted: Mapping[str, int]
    written: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def has(self, digest: str) -> bool:
        """Tell whether the blob need not be handed out: it is written, or not wanted at all."""
        return digest not in self.wanted or digest in self.written

    def take(self, digest: str, size: int, stream: BufferedIOBase) -> None:
        """Write a layer to its place."""
        wanted, offset = self.wanted[digest], self.places.blobs[digest]
        if size != wanted:
            raise KilnError(
                f"the engine hands out {digest} with {size} bytes, not {wanted}",
                remedy="build the image again",
            )
        found = hashlib.sha256()
        done = 0
        while done < size:
            chunk = stream.read(min(CHUNK, size - done))
            if not chunk:
                raise KilnError(
                    f"the engine broke off after {done} of {size} bytes of {digest}",
                    remedy="look at its log, and run it again",
                )
            found.update(chunk)
            self._write(chunk, offset + done)
            done += len(chunk)
        if f"sha256:{found.hexdigest()}" != digest:
            raise KilnError(
                f"the engine hands out other bytes than {digest}",
                remedy="its storage is damaged: build the image again with --no-cache",
            )
        with self.lock:
            self.written.add(digest)

    def require_all(self) -> None:
        """Raise `KilnError` when the engine has not handed out every layer."""
        missing = sorted(set(self.wanted) - self.written)
        if missing:
            raise KilnError(
                f"the engine did not hand out {', '.join(missing)}",
                remedy="build the image again",
            )

    def _write(self, chunk: bytes, offset: int) -> None:
        try:
            _write_at(self.handle, chunk, offset)
        except OSError as error:
            raise KilnError(
                f"the archive cannot be written: {error.strerror}",
                remedy="free some space, or name another file",
            ) from error


def _before_content(layer: Layer | None) -> int:
    """Return how many bytes of a layer come before the content of its only file."""
    if layer is None:
        return 0
    count = 0
    for piece in layer.pieces():
        if isinstance(piece, ModelFile):
            break
        count += len(piece)
    return count


def _shift(offset: int) -> int:
    """Return how many blocks, none or two at least, bring `offset` to where blocks are shared."""
    blocks = (-offset % SHARED_BLOCK) // tarheader.BLOCK
    return blocks + SHARED_BLOCK // tarheader.BLOCK if blocks == 1 else blocks


def _write_layer(handle: int, layer: Layer, source: Contents, offset: int) -> None:
    for piece in layer.pieces():
        if isinstance(piece, bytes):
            _write_at(handle, piece, offset)
            offset += len(piece)
            continue
        path = source.path(piece)
        if path is None or not _copied(handle, path, piece.size, offset):
            _streamed(handle, contents.only(piece, source), offset)
        offset += piece.size


def _copied(handle: int, path: Path, size: int, offset: int) -> bool:
    """Let the kernel copy a whole file to `offset`; False where it cannot, with nothing done."""
    done = 0
    with path.open("rb") as opened:
        while done < size:
            try:
                count = os.copy_file_range(
                    opened.fileno(), handle, size - done, done, offset + done
                )
            except OSError as error:
                if done == 0 and error.errno in _NO_COPY:
                    return False
                raise
            if count == 0:
                raise KilnError(
                    f"{path} has {done} bytes, not {size}",
                    remedy="fetch the models again: `./kiln models.fetch`",
                )
            done += count
    return True


def _streamed(handle: int, chunks: Iterator[bytes | memoryview], offset: int) -> None:
    for chunk in chunks:
        _write_at(handle, chunk, offset)
        offset += len(chunk)


def _write_at(handle: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(handle, view, offset)
        view, offset = view[count:], offset + count


def _require_space(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise NotPossibleError(
            f"{path.parent} has {free / GB:.1f} GB free, the archive needs {size / GB:.1f} GB",
            remedy="free some space, or name a file on another disk",
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the disk says while the archive is written into one clear error."""
    try:
        yield
    except OSError as error:
        raise NotPossibleError(
            f"{path} cannot be written: {error.strerror}",
            remedy="free some space there, or name another file",
        ) from error
