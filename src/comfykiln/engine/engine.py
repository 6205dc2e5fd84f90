"""The container engine: `docker buildx bake` builds, docker-py inspects and runs."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DocumentError, KilnError, NotPossibleError
from comfykiln.setup import engine_info, old_engine
from comfykiln.setup.engine_info import OLDEST_BUILDX, OLDEST_ENGINE
from comfykiln.system import process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import docker
    from docker.models.images import Image

# From here on buildx reads nothing outside the working folder that the command line does not allow
# (a warning in 0.19, an error since 0.20); older ones do not know the option.
ASKS_FOR_PATHS = (0, 19)
_IN_USE = 409
_OURS = re.compile(r"comfykiln/([a-z0-9-]+):([a-z][a-z0-9]*)(?:-([\w.-]+))?", re.ASCII)
_NO_REFERENCE = 400
SETUP = "start with ./kiln, which sets an engine up on Debian and Ubuntu; see docs/setup.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """An engine that answers: its version, its image store, where its data lies."""

    version: str
    store: str
    data_root: str
    architecture: str

    @property
    def containerd_store(self) -> bool:
        """Whether images lie in the containerd store (OCI exports, attestations, zstd)."""
        return self.store == "containerd"


def connect() -> Engine:
    """Return the engine in use; raises `NotPossibleError` when none answers or it is too old."""
    info = engine_info.require(SETUP)
    if engine_info.version_of(info.version) < OLDEST_ENGINE:
        raise old_engine.too_old(info.version, remote=engine_info.chosen(os.environ))
    if "buildx" not in info.plugins:
        raise NotPossibleError("the docker command has no buildx", remedy=SETUP)
    if info.buildx < OLDEST_BUILDX:
        found = ".".join(map(str, info.buildx)) or "of an unknown version"
        wanted = ".".join(map(str, OLDEST_BUILDX))
        raise NotPossibleError(f"docker buildx is {found}, older than {wanted}", remedy=SETUP)
    status = " ".join(" ".join(pair) for pair in info.facts.get("DriverStatus") or [])
    return Engine(
        version=info.version,
        store="containerd" if "io.containerd.snapshotter" in status else info.facts["Driver"],
        data_root=info.facts["DockerRootDir"],
        architecture=info.facts["Architecture"],
    )


def bake(
    files: Sequence[Path],
    target: str,
    *,
    cwd: Path,
    metadata: Path,
    on_line: Callable[[str], None],
    reads: Sequence[Path] = (),
    cache: bool = True,
) -> str:
    """Run `docker buildx bake` on `target` and return the digest (or id) of the image it made.

    The bake files are merged in order; `reads` are the paths outside `cwd` that they name; without
    `cache` every step runs anew. Raises `ProgramError` when a step fails, `KilnError` when buildx
    reports success but names no image.
    """
    metadata.unlink(missing_ok=True)
    argv = ["docker", "buildx", "bake", "--progress=plain", f"--metadata-file={metadata}"]
    argv += [f"--file={path}" for path in files]
    if engine_info.ask().buildx >= ASKS_FOR_PATHS:
        argv += [f"--allow=fs.read={path}" for path in reads]
    argv += [] if cache else ["--no-cache"]
    process.stream([*argv, target], on_line, cwd=cwd)
    facts = json.loads(metadata.read_text("utf-8")).get(target, {}) if metadata.is_file() else {}
    digest = facts.get("containerimage.digest") or facts.get("containerimage.config.digest")
    if not isinstance(digest, str):
        raise KilnError(
            f"buildx says that {target} was built, but names no image in {metadata}",
            remedy="run the build again; if it stays so, report the versions that doctor prints",
        )
    return digest


def client() -> docker.DockerClient:
    """Return a docker-py client of the engine that the docker command uses."""
    import docker as docker_py  # noqa: PLC0415  # 130 ms

    if "DOCKER_HOST" in os.environ:
        return docker_py.from_env(timeout=120, use_ssh_client=True)
    host = process.capture(
        ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], timeout=20
    ).strip()
    return docker_py.DockerClient(base_url=host, timeout=120, use_ssh_client=True)


def find_image(engine: docker.DockerClient, ref: str) -> Image | None:
    """Return the local image `ref`, or None when there is none.

    What cannot be an image's name at all raises `DocumentError`.
    """
    from docker.errors import APIError, ImageNotFound  # noqa: PLC0415  # with docker-py

    try:
        return engine.images.get(ref)
    except ImageNotFound:
        return None
    except APIError as error:
        if error.status_code != _NO_REFERENCE:
            raise
        raise DocumentError(
            f"{ref!r} cannot be the name of an image: {error.explanation}",
            remedy="name it as NAME:TAG in lower case, such as comfykiln/core:cpu",
        ) from error


def require_image(engine: docker.DockerClient, ref: str) -> Image:
    """Return the local image `ref`; a missing one is an error that says how to build it."""
    image = find_image(engine, ref)
    if image is None:
        raise KilnError(f"the engine has no image {ref}", remedy=_how_to_get(ref))
    return image


def _how_to_get(ref: str) -> str:
    """Return how to get an image that the engine lacks: the command that gives it this name."""
    match = _OURS.fullmatch(ref)
    if match is None:
        return f"`docker pull {ref}` gets it, if it is in a registry"
    image, target, own = match.groups()
    if own:
        return f"`./kiln build --target {target} --image {image} --tag {own}` makes it"
    return f"`./kiln build --target {target} --image {image}` makes it"


def tag(engine: docker.DockerClient, ref: str, alias: str) -> None:
    """Give the local image `ref` the further name `alias`, and check that it has it.

    An image that had this name, and has no other, is removed: nobody could find it again.
    """
    image, before = require_image(engine, ref), find_image(engine, alias)
    image.tag(alias)
    if require_image(engine, alias).id != image.id:
        raise KilnError(f"{alias} does not name {ref}", remedy="tag it by hand and report this")
    if before is not None and before.id != image.id:
        _remove_nameless(engine, str(before.id))


def _remove_nameless(engine: docker.DockerClient, image: str) -> None:
    """Remove an image that has no name; one that a container still uses stays."""
    from docker.errors import APIError  # noqa: PLC0415  # with docker-py

    found = find_image(engine, image)
    if found is None or found.tags:
        return
    try:
        engine.images.remove(image)
    except APIError as error:
        if error.status_code != _IN_USE:
            raise


def untag(engine: docker.DockerClient, name: str) -> None:
    """Take the name `name` away from its image; nothing happens when there is none."""
    if find_image(engine, name) is not None:
        engine.images.remove(name, force=True)


def layer_digests(image: Image) -> list[str]:
    """Return the digests of the image's layers, uncompressed (diff ids), lowest first."""
    digests: list[str] = image.attrs["RootFS"]["Layers"]
    return list(digests)


def layers(image: Image) -> list[Mapping[str, Any]]:
    """Return the image's history, newest first, each with `Size` in bytes and `CreatedBy`."""
    history: list[Mapping[str, Any]] = image.history()
    return history


def labels(image: Image) -> dict[str, str]:
    """Return the image's labels."""
    return dict(image.labels or {})
