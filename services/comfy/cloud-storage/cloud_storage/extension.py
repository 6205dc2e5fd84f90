"""What ComfyUI sees: the list of nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .nodes_profile import CloudStorageProfile


class CloudStorageExtension(ComfyExtension):
    """The pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return every node of the pack; pyproject.toml holds the same list by name."""
        return [CloudStorageProfile]
