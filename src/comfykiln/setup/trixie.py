"""Debian 12 has no buildx: the engine comes from Debian 13 (trixie), and nothing else does.

A source with trixie, a pin that forbids every package of it, and a pin that allows the engine's.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import NotPossibleError
from comfykiln.setup import apt, daemon
from comfykiln.system import console, files
from comfykiln.system.process import ProgramError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOURCE = Path("/etc/apt/sources.list.d/comfykiln-trixie.sources")
PINS = Path("/etc/apt/preferences.d/comfykiln-trixie")


def allow(packages: Sequence[str], *, undo: ExitStack) -> None:
    """Let apt take `packages` and nothing else from trixie; `undo` gets the way back.

    What an earlier call allowed stays allowed: its packages are kept current by their pin.
    """
    before = re.search(r"^Package: (?!\*)(.+)$", _text(PINS), flags=re.MULTILINE)
    packages = list(dict.fromkeys([*(before[1].split() if before else ()), *packages]))
    if not SOURCE.exists() and apt.archives("trixie"):
        # Whoever mixes releases already has pins of their own, which must go on working.
        _write(PINS, allowing(packages), undo=undo, why=f"{' '.join(packages)} from trixie")
        return
    source = source_text(_archive())
    _write(PINS, forbidding() + "\n" + allowing(packages), undo=undo, why="only the engine's")
    _write(SOURCE, source, undo=undo, why="Debian 13, for the packages that the pins allow")


def source_text(address: str) -> str:
    """Return the source entry for trixie at `address`, accepted with Debian's own signature."""
    return f"Types: deb\nURIs: {address}\nSuites: trixie\nComponents: main\nSigned-By: {KEYRING}\n"


def forbidding() -> str:
    """Return the pin that keeps every package of trixie out."""
    return "Package: *\nPin: release o=Debian,n=trixie\nPin-Priority: -10\n"


def allowing(packages: Sequence[str]) -> str:
    """Return the pin that prefers trixie for `packages`; a named package outranks `*`."""
    return f"Package: {' '.join(packages)}\nPin: release o=Debian,n=trixie\nPin-Priority: 990\n"


def _archive() -> str:
    """Return the first of this machine's own addresses that serves trixie signed by Debian.

    Other archives may call their suite bookworm too; the signature tells which one is Debian's.
    """
    said: list[str] = []
    for address in apt.archives("bookworm"):
        with tempfile.TemporaryDirectory() as folder:
            files.write_text(Path(folder) / SOURCE.name, source_text(address))
            try:
                apt.read_lists(only=Path(folder))
            except ProgramError as error:
                said += [line for line in error.output.splitlines() if line[:2] in {"E:", "W:"}]
            else:
                return address
    raise NotPossibleError(
        "\n    ".join(["no source of this machine serves Debian 13 (trixie):", *said]),
        remedy="fix the way to the archive where that is what apt says, or add Debian's own to "
        "/etc/apt/sources.list.d; then start the task again",
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _write(path: Path, text: str, *, undo: ExitStack, why: str) -> None:
    if before := _text(path):
        undo.callback(files.write_text, path, before)
    else:
        undo.callback(daemon.take_back, path)
    files.write_text(path, text)
    console.note(f"changed: {path} ({why})")
