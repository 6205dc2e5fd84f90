"""The records of models.yaml and models.lock."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from comfykiln.parsing.schemes import name_of

if TYPE_CHECKING:
    from comfykiln.environment import Criticality

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")
"""Endings of formats that can run code when they are loaded."""


class Image(Protocol):
    """What models need of an image: its name, and the folder of its description."""

    @property
    def name(self) -> str:
        """The image's name."""

    @property
    def folder(self) -> Path:
        """The folder that has its service.yaml, and its models.yaml if it has models."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFolder:
    """An image whose service.yaml nobody has read, since reading it takes longer than the rest."""

    name: str
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """One place where a model is available; never a secret, only where one is found.

    `url` is an address of a scheme in `comfykiln.parsing.schemes`. `auth` is the name of a profile
    for s3 and of an environment variable for the others.
    `provider`, `endpoint`, `region` and `account_id` lead to an S3 store that no profile describes.
    `folder` is where relative paths begin: that of models.yaml.
    """

    url: str
    auth: str | None = None
    provider: str | None = None
    endpoint: str | None = None
    region: str | None = None
    account_id: str | None = None
    folder: Path = field(default=Path(), compare=False, repr=False)

    @property
    def scheme(self) -> str:
        """The word before the first colon, in lower case."""
        return name_of(self.url)

    def data(self) -> str | dict[str, str]:
        """Return the source as models.yaml and models.lock write it."""
        words = ("url", "auth", "provider", "endpoint", "region", "account_id")
        told = {word: str(getattr(self, word)) for word in words if getattr(self, word)}
        return self.url if len(told) == 1 else told


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """One entry of models.yaml.

    `destination` is below /app/models (`checkpoints/x.safetensors`), `size` in bytes.
    `pickle_reason` says why a pickle format, which can run code when it is loaded, is allowed.
    """

    name: str
    destination: str
    criticality: Criticality
    sources: tuple[ModelSource, ...] = ()
    sha256: str | None = None
    size: int | None = None
    pickle_reason: str | None = None

    @property
    def is_pickle(self) -> bool:
        """Tell whether the destination has the ending of a pickle format."""
        return self.destination.lower().endswith(PICKLES)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelList:
    """A whole models.yaml: its entries in their order, and the digest that models.lock repeats."""

    path: Path
    entries: tuple[ModelEntry, ...]
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedModel:
    """One entry of models.lock: the same file for everyone from now on.

    `version` is the version id, the ETag or the hub's commit that was found, "" where the source
    has none. `layer` is the digest (which is the diff_id too) of the file's own layer in the
    current layer format, "" for a file that shares its layer with other small files.
    `source` is the address that was used when it was locked, `licence` what the hub says of it.
    """

    name: str
    destination: str
    criticality: Criticality
    sources: tuple[ModelSource, ...]
    sha256: str
    size: int
    version: str = ""
    layer: str = ""
    source: str = ""
    licence: str = ""
    pickle_reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A model that is in the store now.

    `source` is the address that was used, "" when nothing had to be fetched; `fetched` the bytes
    that came, `kept` those that an earlier attempt had left. `told_sha256` says that the source
    itself named the sha256 before.
    """

    name: str
    sha256: str
    size: int
    source: str = ""
    version: str = ""
    fetched: int = 0
    kept: int = 0
    told_sha256: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """A model that was not available; `reasons` has a line for each source that was tried."""

    name: str
    criticality: Criticality
    reasons: tuple[str, ...]
