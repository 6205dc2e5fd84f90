"""From a found file into the store: hashed on its way, right under its name or not there."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from comfykiln.models import store
from comfykiln.models.hashing import FileAndLayer, has_own_layer, layer_key
from comfykiln.system import files
from comfykiln.system.store import Store
from comfykiln.transfer.download import download
from comfykiln.transfer.errors import Cancelled, ChangedError, DamagedError
from comfykiln.transfer.partfile import part_path
from comfykiln.transfer.parts import MIB, Remote, cut
from comfykiln.transfer.ranged import fetch

if TYPE_CHECKING:
    import io
    from collections.abc import Callable
    from pathlib import Path

    from comfykiln.models.sources.find import Found
    from comfykiln.transfer.connections import Request
    from comfykiln.transfer.download import Downloaded
    from comfykiln.transfer.parts import Digest, Part, Settings
    from comfykiln.transfer.ranged import Watch
    from comfykiln.transfer.sink import Sink

READ_ONLY = 0o444


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A file that is in the store now; `fetched` bytes came in this run, `kept` were there."""

    sha256: str
    size: int
    fetched: int
    kept: int


def receive(
    found: Found, destination: str, *, sha256: str, layer: str, settings: Settings, watch: Watch
) -> Received:
    """Bring a found file into the store, and note its layer's digest if it was computed.

    `sha256` ("" if nobody knows it) is what the content must have, `layer` the layer's digest at
    `destination` where models.lock has it: then only one hash is computed. Raises `StorageError`.
    """
    landing = _Landing(found, sha256 or found.sha256, destination, layer)
    done = download(
        landing.remote,
        landing.target,
        sha256=landing.sha256,
        already=landing.already,
        before=landing.note,
        hasher=landing.hasher,
        read=fetch if found.local is None else partial(read_local, found.local),
        settings=settings,
        watch=watch,
    )
    landing.settle()
    kept = done.kept if done else 0
    fetched = found.size - kept if done else 0
    return Received(sha256=landing.sha256, size=found.size, fetched=fetched, kept=kept)


class _Landing:
    """Where one file arrives: under its sha256, or beside, as long as nobody knows that."""

    def __init__(self, found: Found, expected: str, destination: str, layer: str) -> None:
        remote = found.remote or described(found)
        self.remote = replace(remote, identity=f"sha256:{expected}" if expected else "")
        self.sha256 = expected
        self._pinned = bool(expected)
        self._destination, self._layer = destination, layer
        self._hash: Digest | None = None
        told = [remote.label, remote.etag, str(remote.size)]
        key = files.sha256("\n".join(told).encode())
        self.target = (
            store.path_of(expected) if expected else Store.of_user().root / "models/incoming" / key
        )
        self._record = self.target.with_name(f"{key}.sha256")

    def already(self) -> bool:
        """Tell whether another process has done the work while this one waited."""
        if self._pinned:
            return store.known(self.sha256) is not None
        try:
            seen = self._record.read_text(encoding="ascii")
        except (FileNotFoundError, UnicodeDecodeError):
            return False
        if not (self.target.exists() or store.known(seen)):
            return False
        self.sha256 = seen
        return True

    def hasher(self) -> Digest:
        """Return what the bytes go through: two hashes where the layer's digest is to be found."""
        size = self.remote.size
        if has_own_layer(size) and not self._layer:
            self._hash = FileAndLayer(self._destination, size)
        else:
            self._hash = hashlib.sha256()
        return self._hash

    def note(self, done: Downloaded) -> None:
        """Note the verified file before it has its name, so that nobody reads it again."""
        part = part_path(self.target)
        # The digest of models.lock is used and not noted: nobody has computed it here, and what is
        # noted wrong would come back into every lock.
        layers = {}
        if isinstance(self._hash, FileAndLayer):
            layers = {layer_key(self._destination): self._hash.layer()}
        self.sha256 = done.sha256
        store.note(self.sha256, layers, path=part)
        if not self._pinned and self.remote.etag:
            files.write_text(self._record, self.sha256)

    def settle(self) -> None:
        """Give a file that came without a known sha256 its place in the store."""
        final = store.path_of(self.sha256)
        if not self._pinned:
            final.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # whoever waited with us has moved it
                self.target.replace(final)
        if not final.exists():
            raise DamagedError(f"{final} has vanished.", remedy="run it again")
        final.chmod(READ_ONLY)


def described(found: Found) -> Remote:
    """Return a local file as the downloader sees it; its inode and time stand for an ETag."""
    path = found.local
    assert path is not None  # noqa: S101  # a found file is remote or local
    return Remote(label=f"file:{path}", size=found.size, etag=_state(path), request=_unasked)


def _unasked() -> Request:
    raise AssertionError("a local file is read in place")


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_dev}-{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"


def read_local(
    path: Path,
    remote: Remote,
    sink: Sink,
    *,
    hasher: Callable[[], Digest],
    settings: Settings,
    watch: Watch,
) -> Digest:
    """Copy a file of this machine part by part, as `fetch` does with one of another."""
    digest, done = hasher(), 0
    buffer = memoryview(bytearray(MIB))
    with path.open("rb", buffering=0) as file:
        for part in cut(remote.size, settings.part_of(remote.size)):
            if watch.cancelled():
                raise Cancelled("The copy was cancelled.", remedy="run it again to go on")
            _copy_part(file, path, part, sink, buffer, digest)
            done += part.size
            watch.progress(done)
    if _state(path) != remote.etag:
        raise ChangedError(f"{remote.label} changed while it was being read.", remedy="try again")
    return digest


def _copy_part(
    file: io.FileIO, path: Path, part: Part, sink: Sink, buffer: memoryview, digest: Digest
) -> None:
    there = part.index in sink.done
    file.seek(part.start)
    place = part.start
    while place < part.stop:
        view = buffer[: min(MIB, part.stop - place)]
        if there:
            sink.read(view, place)
        elif file.readinto(view) != len(view):
            raise ChangedError(
                f"{path} became shorter while it was being read.", remedy="try again"
            )
        else:
            sink.write(view, place)
        digest.update(view)
        place += len(view)
    if not there:
        sink.written(part.index)
