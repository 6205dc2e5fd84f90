"""Bring a root file system into the engine as an image whose id depends on nothing but its bytes.

`docker import` writes the time of the import into the image; an archive written here and loaded has
a fixed one, so the same root file system gives the same image id on every machine and either image
store.
"""

from __future__ import annotations

import tarfile
import time
from typing import TYPE_CHECKING, Any

from comfykiln.errors import KilnError
from comfykiln.origins.archive import pieces
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker

BLOCK = 512
# As the slim images of Debian have it.
CONFIG = {
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    "Cmd": ["bash"],
}


def ensure_loaded(
    client: docker.DockerClient, name: str, tar: Path, sha256: str, *, epoch: int
) -> None:
    """Make the engine hold the image `name` with the one layer `tar` (uncompressed, `sha256`).

    Raises `KilnError` when the engine refuses it, or has something else under that name afterwards.
    """
    from docker.errors import ImageLoadError  # noqa: PLC0415  # 130 ms, only with an engine

    if _layers(client, name) == [f"sha256:{sha256}"]:
        return
    architecture = client.version()["Arch"]
    archive = image_archive(name, tar, sha256, architecture, epoch)
    try:
        client.images.load(archive)  # type: ignore[arg-type]  # an iterator is sent as it comes
    except ImageLoadError as error:
        raise KilnError(
            f"the engine does not take {name}: {error}",
            remedy="look at the engine's log and at its free space",
        ) from error
    found = _layers(client, name)
    if found != [f"sha256:{sha256}"]:
        raise KilnError(
            f"the engine was given {name} with the layer sha256:{sha256}, but has {found}",
            remedy="look at the engine's log and at its free space",
        )


def image_archive(
    name: str, tar: Path, sha256: str, architecture: str, epoch: int
) -> Iterator[bytes]:
    """Yield the bytes of an archive for `docker load`, equal for equal arguments."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    config = files.canonical_json(
        {
            "architecture": architecture,
            "os": "linux",
            "created": created,
            "config": CONFIG,
            "history": [{"created": created, "created_by": "comfykiln: mmdebstrap"}],
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256}"]},
        }
    )
    config_name = f"{files.sha256(config)}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]
    yield from _member(config_name, len(config), [config], epoch)
    yield from _member("layer.tar", tar.stat().st_size, pieces(tar), epoch)
    listed = files.canonical_json(manifest)
    yield from _member("manifest.json", len(listed), [listed], epoch)
    yield bytes(2 * BLOCK)


def _member(name: str, size: int, data: Any, epoch: int) -> Iterator[bytes]:
    header = tarfile.TarInfo(name)
    header.size, header.mtime = size, epoch
    yield header.tobuf(tarfile.PAX_FORMAT)
    yield from data
    yield bytes(-size % BLOCK)


def _layers(client: docker.DockerClient, name: str) -> list[str]:
    from docker.errors import ImageNotFound  # noqa: PLC0415  # 130 ms, only with an engine

    try:
        return list(client.images.get(name).attrs["RootFS"].get("Layers", []))
    except ImageNotFound:
        return []
