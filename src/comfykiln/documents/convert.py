"""From one kind of document to another, with an account of what the new kind cannot hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from comfykiln.documents.formats import format_of, write
from comfykiln.documents.losses import losses
from comfykiln.environment import ComfyUISpec, is_commit
from comfykiln.errors import DocumentError

if TYPE_CHECKING:
    from comfykiln.documents.formats import Written
    from comfykiln.environment import Environment
    from comfykiln.parsing.faults import Note

Packages = Literal["all", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """A new document and what it lacks of the environment it was written from."""

    written: Written
    losses: tuple[Note, ...]


def convert(environment: Environment, kind: str, *, packages: Packages = "all") -> Converted:
    """Write `environment` as a document of `kind` and tell what is lost.

    The new document is read again and compared, so that the account is what really happened and
    a document that could not be read is never handed out. `packages="none"` leaves the packages
    out, for a manifest that would be too large with them.
    """
    chosen = environment if packages == "all" else replace(environment, packages=())
    written = write(chosen, kind)
    return Converted(written=written, losses=losses(environment, reread(written)))


def complete(
    environment: Environment,
    *,
    python: str | None = None,
    torch: str | None = None,
    comfyui: str | None = None,
) -> Environment:
    """Return `environment` with versions that it does not tell itself.

    A more exact version (3.11.7 for 3.11) is taken.
    Raises `DocumentError` for a version that it tells otherwise.
    """
    spec = environment.comfyui
    for flag, given, told in (
        ("--python", python, environment.system.python),
        ("--torch", torch, environment.torch.version),
        ("--comfyui", comfyui, spec.wanted),
    ):
        if given and told and given != told and not given.startswith(f"{told}."):
            raise DocumentError(f"{flag} {given}: the document says {told}", remedy="leave it out")
    return replace(
        environment,
        system=replace(environment.system, python=python or environment.system.python),
        torch=replace(environment.torch, version=torch or environment.torch.version),
        comfyui=_comfyui(comfyui) if comfyui else spec,
    )


def _comfyui(text: str) -> ComfyUISpec:
    return ComfyUISpec(commit=text) if is_commit(text) else ComfyUISpec(version=text)


def reread(written: Written) -> Environment:
    """Return what a written document says."""
    found = format_of(written.kind)
    if found.reread:
        return found.reread(written)
    return found.parse(written.data, written.filename).environment
