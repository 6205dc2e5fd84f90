"""From one kind of document to another, with an account of what the new kind cannot hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from comfykiln.documents import module_of, write
from comfykiln.documents.losses import losses

if TYPE_CHECKING:
    from comfykiln.documents.faults import Note
    from comfykiln.documents.kinds import Kind, Written
    from comfykiln.environment import Environment

Packages = Literal["all", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """A new document and what it lacks of the environment it was written from."""

    written: Written
    losses: tuple[Note, ...]


def convert(environment: Environment, kind: Kind, *, packages: Packages = "all") -> Converted:
    """Write `environment` as a document of `kind` and tell what is lost.

    The new document is read again and compared, so that the account is what really happened and
    a document that could not be read is never handed out. `packages="none"` leaves the packages
    out, for a manifest that would be too large with them.
    """
    chosen = environment if packages == "all" else replace(environment, packages=())
    written = write(chosen, kind)
    return Converted(written=written, losses=losses(environment, reread(written)))


def reread(written: Written) -> Environment:
    """Return what a written document says."""
    module = module_of(written.kind)
    if hasattr(module, "reread"):
        found: Environment = module.reread(written)
        return found
    parsed: Environment = module.parse(written.data, written.filename).environment
    return parsed
