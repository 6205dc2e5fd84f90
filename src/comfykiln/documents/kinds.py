"""What readers and writers of documents agree on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfykiln.environment import Environment
    from comfykiln.parsing.faults import Note


class Kind(StrEnum):
    """The formats a ComfyUI environment is described in."""

    SNAPSHOT = "snapshot"
    MANIFEST = "manifest"
    EXPORT = "export"
    COMFYLOCK = "comfylock"
    COMFYPACK = "comfypack"
    WORKFLOW = "workflow"


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """A document that has been read: what it means, and what is to be said about it.

    `form` tells variants of one kind apart (`manager`, `spec-map`, `yaml`, `comfydock`, …).
    """

    kind: Kind
    source: str
    environment: Environment
    form: str = ""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """An environment as a document: its bytes, its usual file name, files that belong beside it."""

    kind: Kind
    filename: str
    data: bytes
    beside: tuple[tuple[str, bytes], ...] = ()
