"""What a format of documents declares of itself, and which formats there are.

A format is a folder beside this module with a `format.py` that holds `FORMAT`; the folder is called
after its kind. Detection, conversion, pinning, help and the pages follow from these records.
`format.py` is imported to tell what a document is, so whatever is costly to import waits in
another module of the folder until a document is read.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from comfykiln.environment import Environment
    from comfykiln.parsing.faults import Note

LAST = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """A document that has been read: what it means, and what is to be said about it.

    `form` tells variants of one kind apart (`manager`, `spec-map`, `yaml`, `comfydock`, …).
    """

    kind: str
    source: str
    environment: Environment
    form: str = ""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """An environment as a document: its bytes, its usual file name, files that belong beside it."""

    kind: str
    filename: str
    data: bytes
    beside: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sign:
    """What the keys of a JSON or YAML document tell; of all that hold, the lowest `rank` decides.

    Give a key that no other kind has a low rank, a mere likeness a high one.
    """

    rank: int
    holds: Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """How a folder of this kind is told: by `holds`; `mark` is the file that people look for."""

    mark: str
    holds: Callable[[Path], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pins:
    """Where commits stand: `key` of each node, and by form the map that holds `comfyui`."""

    key: str
    comfyui: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """One kind of document. What is None or empty it cannot do or does not have.

    `title` is its name in messages, `files` what the page calls its files, `schema` the shipped
    schema of its shape, `order` its place in lists. `parse` takes bytes and the name of their
    source; `read` takes a path, where more counts than the bytes of one file. `reread` returns what
    a written document says, where files beside it count. `suffixes` are other forms of a written
    document by the suffix of its file, `ending` that of a copy's name. `head` knows the document by
    its first bytes and its name.
    `freezes`: it lists what happened to be installed; the others list what is wanted.
    """

    kind: str
    title: str
    files: str
    schema: str
    parse: Callable[[bytes, str], Parsed]
    signs: tuple[Sign, ...]
    forms: tuple[str, ...] = ()
    order: int = LAST
    read: Callable[[Path], Parsed] | None = None
    write: Callable[[Environment], Written] | None = None
    reread: Callable[[Written], Environment] | None = None
    suffixes: Mapping[str, Callable[[Written], Written]] = field(default_factory=dict)
    head: Callable[[bytes, str], bool] | None = None
    folder: Folder | None = None
    pins: Pins | None = None
    ending: str = ".json"
    freezes: bool = False


@functools.cache
def formats() -> tuple[Format, ...]:
    """Return every format, in the order that lists have."""
    names = sorted(path.parent.name for path in Path(__file__).parent.glob("*/format.py"))
    return tuple(sorted(map(format_of, names), key=lambda found: found.order))


def format_of(kind: str) -> Format:
    """Return the format of `kind`, importing no other."""
    found: Format = importlib.import_module(f"comfykiln.documents.{kind}.format").FORMAT
    return found


def writable() -> tuple[str, ...]:
    """Return the kinds that an environment can be written as."""
    return tuple(found.kind for found in formats() if found.write)


def write(environment: Environment, kind: str) -> Written:
    """Return `environment` as a document of `kind`, which holds what that kind can hold.

    `convert.losses` tells what it cannot. Raises `DocumentError` for a kind that is only read.
    """
    found = format_of(kind)
    if found.write is None:
        raise DocumentError(
            f"a {found.title} cannot be written",
            remedy=f"write one of {', '.join(writable())}",
        )
    return found.write(environment)


def is_node_list(value: object) -> bool:
    """Say whether `value` is a list of nodes: maps, or nothing yet."""
    return isinstance(value, list) and not any(isinstance(node, str) for node in value)
