"""Model files of known bytes, as layers, for the tests of images with models."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from comfykiln.oci import contents, layers
from comfykiln.oci.layers import ModelFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LARGE = 64_000_001


@dataclass(frozen=True, kw_only=True)
class Files:
    """Model files on disk by their destination, the records of them, and where they can be read."""

    folder: Path
    paths: Mapping[str, Path]

    @classmethod
    def made(cls, folder: Path, *, large: bytes = b"large") -> Files:
        """Write a large file, sparse but for its ends, and two small ones."""
        folder.mkdir(parents=True)
        paths = {
            "checkpoints/large.safetensors": folder / "large",
            "loras/one.safetensors": folder / "one",
            "vae/two.safetensors": folder / "two",
        }
        with (folder / "large").open("wb") as file:
            file.write(large)
            file.truncate(LARGE - 3)
            file.seek(0, 2)
            file.write(b"end")
        (folder / "one").write_bytes(b"one" * 1000)
        (folder / "two").write_bytes(b"two" * 2000)
        return cls(folder=folder, paths=paths)

    @cached_property
    def records(self) -> list[ModelFile]:
        """The files as layers name them."""
        return [
            ModelFile(path=name, sha256=sha256_of(path), size=path.stat().st_size)
            for name, path in self.paths.items()
        ]

    @cached_property
    def contents(self) -> contents.Stored:
        """The files as a store gives them."""
        by_digest = {sha256_of(path): path for path in self.paths.values()}
        return contents.Stored(path_of=lambda sha256: by_digest[sha256])

    @cached_property
    def layers(self) -> list[layers.Layer]:
        """The layers of all files, their digests known."""
        source = self.contents
        return [
            contents.with_digest(layer, source, self.folder / "cache")
            for layer in layers.arrange(self.records)
        ]


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
