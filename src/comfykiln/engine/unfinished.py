"""Names of images that are built but not verified yet, and what a killed build left of them."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.engine import engine

if TYPE_CHECKING:
    import docker

REPOSITORY = "comfykiln-unfinished"
NAME = re.compile(
    rf"{REPOSITORY}/[a-z0-9-]+:[a-z0-9]+-(?P<machine>[0-9a-f]{{12}})-(?P<pid>[0-9]+)-.*"
)


def name(image: str, target: str) -> str:
    """Return a new name, which tells whose it is: this machine's and this process's."""
    return f"{REPOSITORY}/{image}:{target}-{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def sweep(client: docker.DockerClient) -> None:
    """Take away the names of this machine's builds that are no more; the layers stay cached."""
    for image in client.images.list(filters={"reference": f"{REPOSITORY}/*"}):
        for tag in image.tags:
            match = NAME.fullmatch(tag)
            if match and match["machine"] == _machine() and not _alive(int(match["pid"])):
                engine.untag(client, tag)


def _machine() -> str:
    """Return what tells this machine's process ids from those of others, and of other boots."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").replace("-", "")[:12]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
