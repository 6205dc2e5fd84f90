"""What ComfyUI sees: the list of nodes."""

from __future__ import annotations

import logging
from importlib.util import find_spec

from comfy_api.latest import ComfyExtension, io

from .compat import check_release
from .nodes_browse import GeneratePresignedURL, ListBucket, TestCloudConnection
from .nodes_load import LoadAudioFromCloud, LoadImageFromCloud, LoadVideoFromCloud
from .nodes_models import LoadModelFromCloud
from .nodes_profile import CloudStorageProfile
from .nodes_save import SaveAudioToCloud, SaveImageToCloud, SaveVideoToCloud

NODES: list[type[io.ComfyNode]] = [
    CloudStorageProfile,
    SaveImageToCloud,
    SaveVideoToCloud,
    SaveAudioToCloud,
    LoadImageFromCloud,
    LoadAudioFromCloud,
    LoadVideoFromCloud,
    LoadModelFromCloud,
    ListBucket,
    GeneratePresignedURL,
    TestCloudConnection,
]


class CloudStorageExtension(ComfyExtension):
    """The pack."""

    async def on_load(self) -> None:
        """Refuse a ComfyUI that is too old, and warn where boto3 is missing."""
        check_release()
        if find_spec("boto3") is None:
            logging.getLogger(__name__).warning(
                "The cloud storage nodes need boto3; run: python -m pip install boto3"
            )

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return every node of the pack; pyproject.toml holds the same list by name."""
        return NODES
