"""What `doctor` finds: one record a thing, and the report of all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfykiln.setup.engine_info import Version


class State(StrEnum):
    """How well one thing is there."""

    OK = "ok"
    LIMITED = "limited"  # works, within the limits that the text names
    UNKNOWN = "unknown"  # cannot be judged from here, for the reason that the text gives
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing judged: `remedy` says what to do about it and is empty when nothing need be."""

    id: str
    state: State
    text: str
    remedy: str = ""

    def doubted(self, why: str) -> Finding:
        """Return this as one that cannot be judged, for `why`; what is missing stays missing."""
        if self.state is State.MISSING:
            return self
        return replace(self, state=State.UNKNOWN, text=f"{self.text}, but {why}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All findings, in a fixed order."""

    findings: tuple[Finding, ...]

    def __getitem__(self, name: str) -> Finding:
        """Return the finding whose id is `name`."""
        return next(finding for finding in self.findings if finding.id == name)

    @property
    def ready(self) -> bool:
        """Tell whether nothing is known to be in the way of building `core` for cpu here."""
        return self["build.cpu"].state is not State.MISSING


def dotted(version: Version) -> str:
    """Return a version for people, "none" for nothing."""
    return ".".join(map(str, version)) or "none"


def ok(name: str, text: str) -> Finding:
    """Return the finding for a thing that is there."""
    return Finding(id=name, state=State.OK, text=text)


def limited(name: str, text: str, remedy: str) -> Finding:
    """Return the finding for a thing that works within the limits `text` names."""
    return Finding(id=name, state=State.LIMITED, text=text, remedy=remedy)


def unknown(name: str, text: str, remedy: str = "") -> Finding:
    """Return the finding for a thing that cannot be judged, for the reason that `text` gives."""
    return Finding(id=name, state=State.UNKNOWN, text=text, remedy=remedy)


def missing(name: str, text: str, remedy: str) -> Finding:
    """Return the finding for a thing that is not there, or of no use as it is."""
    return Finding(id=name, state=State.MISSING, text=text, remedy=remedy)
