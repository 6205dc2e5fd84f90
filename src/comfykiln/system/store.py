"""The store of what was fetched: by sha256 or key, written whole or not at all, locked."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.system import console, files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

VARIABLE = "COMFYKILN_STORE"
_HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
_HOPELESS |= {errno.ENOTDIR}


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """A folder that any number of builds share; everything in it can be fetched again."""

    root: Path

    @classmethod
    def of_user(cls, environ: Mapping[str, str] = os.environ) -> Store:
        """Return the store in the folder COMFYKILN_STORE, else in the user's cache folder."""
        import platformdirs  # noqa: PLC0415  # keeps `invoke --list` fast

        named = environ.get(VARIABLE)
        root = Path(named) if named else Path(platformdirs.user_cache_dir("comfykiln"))
        return cls(root=root.expanduser().absolute())

    def path(self, sha256: str) -> Path:
        """Return where the file with this sha256 lies, or would lie."""
        return self.root / "sha256" / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Tell whether the file is there and still has its sha256; a damaged one is removed."""
        path = self.path(sha256)
        if not path.is_file():
            return False
        if files.sha256_file(path) == sha256:
            return True
        console.warn(f"{path} is damaged and is fetched again")
        path.unlink()
        return False

    def put(self, chunks: Iterable[bytes], sha256: str, *, source: str) -> Path:
        """Write the chunks as the file `sha256`; other bytes are an error and leave nothing.

        `source` says in messages where the bytes come from.
        """
        path = self.path(sha256)
        digest = hashlib.sha256()
        with self._explained(), files.replacing(path) as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
            if digest.hexdigest() != sha256:
                raise KilnError(
                    f"{source}: expected the sha256 {sha256}, found {digest.hexdigest()}",
                    remedy="do not trust that origin; check the pin in images/origins.yaml",
                )
        return path

    @contextmanager
    def new_folder(self, final: Path) -> Iterator[Path]:
        """Yield an empty folder that becomes `final` when all went well, and vanishes otherwise.

        The caller holds a lock that belongs to `final`.
        """
        with self.scratch(final.name) as part:
            yield part
            final.parent.mkdir(parents=True, exist_ok=True)
            _remove(final)
            part.rename(final)

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Yield an empty folder on the store's disk that vanishes afterwards.

        The caller holds a lock that belongs to `name`: what a killed process left is removed here.
        """
        folder = self.root / "scratch" / name
        with self._explained():
            _remove(folder)
            folder.mkdir(parents=True)
            try:
                yield folder
            finally:
                _remove(folder)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock `name` against other processes; it ends with its holder in any case."""
        path = self.root / "locks" / f"{name.replace('/', '-')}.lock"
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _flock(handle, name)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _HOPELESS:
                raise
            place = f" ({error.filename})" if error.filename else ""
            raise NotPossibleError(
                f"the store {self.root} cannot be written: {error.strerror}{place}",
                remedy=f"free some space there, or name another folder in {VARIABLE}",
            ) from error


def _flock(handle: int, name: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        console.note(f"waiting for another process that is fetching {name}")
        fcntl.flock(handle, fcntl.LOCK_EX)


def _remove(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
