"""What `--from` works with: what was chosen, what was decided, what differs from the document."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from comfykiln.documents.kinds import Parsed
    from comfykiln.environment import Node
    from comfykiln.models.records import ModelEntry
    from comfykiln.parsing.faults import Note
    from comfykiln.plan.origins import BaseSpec, ComfyUISpec

PythonMatch = Literal["exact", "minor", "any"]
Strictness = Literal["prefer", "exact"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FromOptions:
    """What a person may choose about a build from a document.

    `name` is the image's, `comfyui` a pinned release that is taken whatever the document says.
    `packages`: `exact` refuses a lock that differs from the document. `post_install` is what to do
    with the scripts of nodes that no rule names. `leave_out` are nodes and packages by name.
    `rules` is a file with keys of service.yaml.
    """

    source: str
    ref: str | None = None
    name: str | None = None
    comfyui: str | None = None
    python_match: PythonMatch = "exact"
    packages: Strictness = "prefer"
    post_install: Literal["run", "skip"] | None = None
    leave_out: tuple[str, ...] = ()
    rules: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What the document asks for, what the image has instead, and why."""

    thing: str
    asked: str
    got: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Packages:
    """What a document's packages mean for the one solve.

    `required` are requirement lines that must be met, `preferred` maps normalised names to the
    versions that are kept where everything else allows it. `overrides` and `drop` bend the solve
    as in service.yaml; `constraints` bound it.
    """

    required: tuple[str, ...] = ()
    preferred: Mapping[str, str] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    drop: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What the image stands on: ComfyUI, the base, and whether its very Python was asked for."""

    comfyui: ComfyUISpec
    base: BaseSpec
    exact_python: bool
    differences: tuple[Difference, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Intake:
    """A document that can be built: the image's name and every file of its generated service.

    `files` are relative to the service's folder; `service` is the content of service.yaml. `code`
    maps the sha256 of archives of nodes whose code came with the document to their bytes. `notes`
    and `differences` are to be told.
    """

    name: str
    parsed: Parsed
    ground: Ground
    nodes: tuple[Node, ...]
    packages: Packages
    service: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    models: tuple[ModelEntry, ...] = ()
    code: Mapping[str, bytes] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    notes: tuple[Note, ...] = ()
