"""Cloud storage nodes for ComfyUI: save to, load from and browse any S3-compatible storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ComfyExtension:
    """Return the extension; ComfyUI calls this once at start, and only then it is imported."""
    from .cloud_storage.extension import CloudStorageExtension  # noqa: PLC0415  # see above

    return CloudStorageExtension()
