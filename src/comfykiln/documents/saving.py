"""A snapshot of what is really on disk in a container, an image or a ComfyUI folder.

Never by `comfy node save-snapshot`: on a detached commit it writes hashes that cannot be
restored. Commits come from the clones themselves, versions from the registry's marks, packages
from their dist-info.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.documents.capture.capture import capture
from comfykiln.documents.convert import convert
from comfykiln.documents.snapshot.layout import KIND

if TYPE_CHECKING:
    from comfykiln.documents.formats import Written
    from comfykiln.environment import Environment
    from comfykiln.parsing.faults import Note


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """A snapshot, the environment it was taken from, and what could not go into it."""

    environment: Environment
    written: Written
    notes: tuple[Note, ...]


def save(source: str, *, folder: str = "", kind: str = KIND) -> Saved:
    """Take a snapshot of `source`: a container's or image's name, or a ComfyUI folder.

    An image is read without starting what it would start, and without a network.
    `folder` is where ComfyUI lies inside, for an image that holds more than one.
    Raises `DocumentError` where there is no ComfyUI, `NotPossibleError` without an engine.
    """
    captured = capture(source, folder=folder)
    converted = convert(captured.environment, kind)
    return Saved(
        environment=captured.environment,
        written=converted.written,
        notes=(*captured.notes, *converted.losses),
    )
