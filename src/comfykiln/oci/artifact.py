"""A set of models as an OCI artifact of its own, which Kubernetes mounts as an image volume."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from comfykiln.oci import images, tarheader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfykiln.oci.images import Image
    from comfykiln.oci.layers import Layer

ARTIFACT_TYPE = "application/vnd.comfykiln.models.v1"


def of_layers(models: Sequence[Layer], *, architecture: str = "amd64") -> Image:
    """Return an image of the models alone, in the very layers that images have, below app/models.

    It has an image's config, since container runtimes mount only what they could unpack.
    """
    empty = images.Image(
        config={
            "architecture": architecture,
            "os": "linux",
            "created": datetime.fromtimestamp(tarheader.MTIME, UTC).isoformat(),
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": []},
        },
        layers=(),
        artifact_type=ARTIFACT_TYPE,
    )
    return images.with_models(empty, models)
