"""The one file that knows how ComfyUI releases differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

SYSTEM_USER = "cloud_storage"


def system_directory() -> Path:
    """Return the pack's folder below `user`, which ComfyUI keeps from its HTTP interface."""
    return Path(folder_paths.get_system_user_directory(SYSTEM_USER))


def schema(**arguments: Any) -> io.Schema:
    """Return a node's schema without the arguments that this release of ComfyUI does not know."""
    known = io.Schema.__dataclass_fields__
    return io.Schema(**{name: value for name, value in arguments.items() if name in known})
