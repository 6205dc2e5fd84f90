"""The packing rules: which model files share a layer, and the bytes of a layer, without the files.

A layer is an uncompressed tar: ustar headers, a PAX record only where a name or a size needs it,
folders before files, fixed owner, modes and time, and never a link. So a layer's bytes depend on
names and contents alone, and are equal for every target, tag and machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError
from comfykiln.oci import tarheader
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# The name of these rules: whatever changes a byte of a layer changes it too.
LAYER_FORMAT = "kiln-tar-1"
MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar"
ROOT = "app/models"
# 64 MB in SI units, so that a file of 64 MiB is above it too.
OWN_LAYER_BYTES = 64_000_000
_WHITEOUT = ".wh."


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class ModelFile:
    """One file of a layer: its path below /app/models, its sha256 (64 hex digits), its bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One layer to be: its files in their order; `digest` is '' while nobody has computed it."""

    files: tuple[ModelFile, ...]
    digest: str = ""

    @property
    def size(self) -> int:
        """The bytes of the whole tar, computed from names and sizes."""
        return sum(
            piece.size if isinstance(piece, ModelFile) else len(piece) for piece in self.pieces()
        )

    @property
    def key(self) -> str:
        """The sha256 of what the layer's bytes follow from: the rules, the names, the contents."""
        named = [[file.path, file.sha256, file.size] for file in self.files]
        return files.sha256(files.canonical_json([LAYER_FORMAT, named]))

    def pieces(self) -> Iterator[bytes | ModelFile]:
        """Yield the tar in order: bytes as they are, files to be put in whole."""
        yield b"".join(tarheader.folder(name) for name in _folders(self.files))
        for file in self.files:
            yield tarheader.file(f"{ROOT}/{file.path}", file.size)
            yield file
            yield tarheader.padding(file.size)
        yield tarheader.END


def framing(path: str, size: int) -> tuple[bytes, bytes]:
    """Return the bytes before and after a file's content in the layer that holds it alone.

    `path` is below /app/models, `size` in bytes. The layer's digest is the sha256 over the bytes
    before, the content and the bytes after. Raises `DocumentError` for a path no layer may hold.
    """
    check_path(path)
    pieces = list(Layer(files=(ModelFile(path=path, sha256="", size=size),)).pieces())
    place = next(at for at, piece in enumerate(pieces) if isinstance(piece, ModelFile))
    before, after = pieces[:place], pieces[place + 1 :]
    return _joined(before), _joined(after)


def arrange(models: Iterable[ModelFile]) -> list[Layer]:
    """Return the layers of `models`, lowest first: each large file alone, then the small together.

    The order is that of the paths, so that it depends on nothing but the models. The small ones
    come last, since they change most often and an engine unpacks anew what lies above a change.
    Raises `DocumentError` with every path that no layer may hold and every clash of two.
    """
    ordered = sorted(models)
    _check(ordered)
    large = [Layer(files=(model,)) for model in ordered if model.size >= OWN_LAYER_BYTES]
    small = tuple(model for model in ordered if model.size < OWN_LAYER_BYTES)
    return [*large, Layer(files=small)] if small else large


def check_path(path: str) -> None:
    """Raise `DocumentError` when `path` cannot be a file below /app/models."""
    faults = list(_path_faults(path))
    if faults:
        raise DocumentError(
            "a model cannot be packed", faults=faults, remedy="correct its destination"
        )


def digest_of(chunks: Iterable[bytes | memoryview]) -> str:
    """Return `sha256:` and the digest of the chunks, one after the other."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _joined(pieces: Sequence[bytes | ModelFile]) -> bytes:
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


def _check(models: Sequence[ModelFile]) -> None:
    faults = [fault for model in models for fault in _path_faults(model.path)]
    seen: set[str] = set()
    for model in models:
        if model.path in seen:
            faults.append(f"{model.path!a}: two models have this destination")
        seen.add(model.path)
    faults += [
        f"{model.path!a}: lies below {parent!a}, which is a model itself"
        for model in models
        for parent in _parents(model.path)
        if parent and parent in seen
    ]
    if faults:
        raise DocumentError(
            "the models cannot be packed", faults=sorted(faults), remedy="correct the destinations"
        )


def _path_faults(path: str) -> Iterator[str]:
    parts = path.split("/")
    if not path or any(part in {"", ".", ".."} for part in parts):
        yield f"{path!a}: is no plain relative path"
    if any(part.startswith(_WHITEOUT) for part in parts):
        yield f"{path!a}: a name that begins with {_WHITEOUT} would delete a file of the image"
    if any(ord(letter) < ord(" ") or letter in "\\\x7f" for letter in path):
        yield f"{path!a}: holds a control character or a backslash"
    try:
        encoded = [part.encode() for part in parts]
    except UnicodeEncodeError:
        yield f"{path!a}: is no valid UTF-8"
        return
    if any(len(part) > 255 for part in encoded):  # noqa: PLR2004  # NAME_MAX of Linux
        yield f"{path!a}: has a name of more than 255 bytes"


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _folders(models: Sequence[ModelFile]) -> list[str]:
    """Return every folder on the way to the files, each after its parent."""
    found = {parent for model in models for parent in _parents(f"{ROOT}/{model.path}")}
    return sorted(found, key=lambda name: name.split("/"))
