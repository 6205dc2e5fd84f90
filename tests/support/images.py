"""What the engine tests build, and what the real image is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Line:
    """A small project, the mirror that its ComfyUI comes from, its index of torch wheels."""

    root: Path
    mirror: Path
    wheels: Path


@dataclass(frozen=True, kw_only=True)
class CoreImage:
    """What the build said: the image's name, its digest, its export tarball."""

    ref: str
    digest: str
    export: Path
