"""The rows that are plain trees: ComfyUI as pinned, and what starts and watches it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from comfykiln.restore.packages import APP, epoch
from comfykiln.restore.sealing import seal

if TYPE_CHECKING:
    from pathlib import Path

STATE_FOLDERS = ("input", "output", "temp", "user")
# What a checkout may hold of these is a placeholder; `input` ships an example picture and stays.
EMPTY_FOLDERS = ("output", "temp", "user")


def install_comfyui(source: Path) -> None:
    """Copy the pinned tree to /app, without what a running server makes."""
    shutil.copytree(source, APP, symlinks=True, dirs_exist_ok=True)
    for name in EMPTY_FOLDERS:
        if (APP / name).is_dir():
            shutil.rmtree(APP / name)
    seal(APP, epoch())


def install_services(source: Path) -> None:
    """Copy what starts the server to /app/.kiln and make the folders it may write to."""
    shutil.copytree(source, APP / ".kiln")
    state = frozenset(APP / name for name in STATE_FOLDERS)
    for folder in state:
        folder.mkdir()
    seal(APP, epoch(), state=state)
