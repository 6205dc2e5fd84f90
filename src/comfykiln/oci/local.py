"""Images of the local engine: read out without their layers, and models put on top of them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from comfykiln.engine import engine as engines
from comfykiln.engine import unfinished
from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.oci import archive, images, layers
from comfykiln.oci.receiver import Receiver, Sink, receiving
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from io import BufferedIOBase

    import docker
    from docker.models.images import Image as EngineImage

    from comfykiln.engine.engine import Engine
    from comfykiln.oci.contents import Contents
    from comfykiln.oci.images import Image
    from comfykiln.oci.layers import Layer

_SMALL = 4 << 20
# An engine is silent while it unpacks: seconds until that is taken for its end.
_SILENCE = 3600


class RefusedError(KilnError):
    """The engine did not take an image, or has another one than it was given."""


class _Head:
    """A sink that wants an image's config alone."""

    def __init__(self, known: Sequence[str]) -> None:
        self._known = frozenset(known)
        self.blobs: dict[str, bytes] = {}

    def has(self, digest: str) -> bool:
        return digest in self._known

    def take(self, digest: str, size: int, stream: BufferedIOBase) -> None:
        if size <= _SMALL:
            self.blobs[digest] = _checked(digest, stream.read(size))
            return
        for at in range(0, size, _SMALL):  # a packed layer, which the engine cannot keep back
            stream.read(min(_SMALL, size - at))


def _checked(digest: str, data: bytes) -> bytes:
    if f"sha256:{files.sha256(data)}" != digest:
        raise RefusedError(
            f"what came as {digest} has another content",
            remedy="build again; if it stays so, report the versions that doctor prints",
        )
    return data


def read(client: docker.DockerClient, engine: Engine, ref: str) -> Image:
    """Return the engine's image `ref`: config and layers' digests and sizes, without their bytes.

    Under overlay2 the engine keeps layers unpacked, so neither sizes nor history are known there:
    the sizes are 0 and the history is left out.
    """
    found = engines.require_image(client, ref)
    if not engine.containerd_store:
        return _of_inspect(found.attrs)
    sink = _Head(engines.layer_digests(found))
    manifest = push(client, ref, sink)
    config = json.loads(manifest).get("config", {}).get("digest", "")
    image = images.parse(manifest, sink.blobs.get(config, b"{}"))
    check(found.attrs, image, ref)
    return image


def push(client: docker.DockerClient, ref: str, sink: Sink) -> bytes:
    """Make the engine give the blobs of `ref` that `sink` has not to it; return the manifest."""
    with _answering(), receiving(sink) as receiver, _named(client, ref, receiver) as name:
        said = _pushed(client, name)
        if receiver.fault is not None:
            raise receiver.fault
        if not receiver.manifests:
            raise KilnError(
                f"the engine does not hand out {ref}: {said or 'it gave no reason'}",
                remedy="use the engine of this machine, with the containerd image store "
                "(docs/setup.md)",
            )
        manifest = _of_one_image(receiver.manifests)
        _require_same(engines.require_image(client, ref), receiver.manifests, manifest, ref)
        return manifest


def _require_same(
    found: EngineImage, manifests: Mapping[str, bytes], manifest: bytes, ref: str
) -> None:
    """Raise `RefusedError` unless `manifest` is that of the engine's own image.

    The engine names an image by the digest of its manifest or index (containerd store) or of its
    configuration (overlay2).
    """
    config = json.loads(manifest).get("config", {}).get("digest", "")
    if found.id not in {*manifests, config}:
        raise RefusedError(
            f"the engine handed out another image than {ref}",
            remedy="build again; if it stays so, report the versions that doctor prints",
        )


def _of_one_image(manifests: dict[str, bytes]) -> bytes:
    """Return the last manifest, or the only image that it lists beside statements about it."""
    last = list(manifests.values())[-1]
    listed = [
        manifests[entry["digest"]]
        for entry in json.loads(last).get("manifests", [])
        if entry["digest"] in manifests and entry.get("platform", {}).get("os") != "unknown"
    ]
    return listed[0] if len(listed) == 1 else last


def append(
    client: docker.DockerClient,
    image: Image,
    added: Sequence[Layer],
    contents: Contents,
    ref: str,
) -> None:
    """Make the engine hold `image` as `ref`; of its layers only `added` are handed over.

    Raises `RefusedError` when the engine refuses, or has another image afterwards.
    """
    stream = archive.partial(image, ref, added, contents)
    with _answering():
        said = _loaded(client, stream)
        found = engines.find_image(client, ref)
    if found is None:
        raise RefusedError(
            f"the engine did not take the image: {said or 'it gave no reason'}",
            remedy="look at its log and at the disk of its data root (`docker system df`)",
        )
    check(found.attrs, image, ref)


def check(attrs: dict[str, Any], image: Image, ref: str) -> None:
    """Raise `RefusedError` unless the engine's image is `image`: layers, labels, entry point."""
    config = attrs["Config"]
    expected = image.config.get("config", {})
    pairs = {
        "layers": (attrs["RootFS"]["Layers"], image.diff_ids),
        "labels": (config.get("Labels") or {}, image.labels),
        "environment": (config.get("Env"), expected.get("Env")),
        "entry point": (config.get("Entrypoint"), expected.get("Entrypoint")),
    }
    wrong = [what for what, (found, wanted) in pairs.items() if found != wanted]
    if wrong:
        raise RefusedError(
            f"{ref} has other {' and '.join(wrong)} than it was given",
            remedy="build again; if it stays so, report the versions that doctor prints",
        )


def _pushed(client: docker.DockerClient, name: str) -> str:
    """Push, and return what the engine complained of."""
    from docker.errors import APIError  # noqa: PLC0415  # with docker-py

    try:
        events = list(client.api.push(name, stream=True, decode=True, auth_config={}))
    except APIError as error:
        return str(error.explanation or error)
    return " ".join(str(event["error"]) for event in events if "error" in event)


def _loaded(client: docker.DockerClient, stream: Iterator[bytes | memoryview]) -> str:
    """Give the engine an archive, and return what it complained of.

    docker-py's own `load_image` bounds the engine's silence by the client's time limit.
    """
    api = client.api
    with api.post(
        f"{api.base_url}/v{api.api_version}/images/load",
        data=cast("Iterable[bytes]", stream),
        params={"quiet": True},
        headers={"Content-Type": "application/x-tar"},
        stream=True,
        timeout=_SILENCE,
    ) as answer:
        if not answer.ok:
            return " ".join(answer.text.split())
        events = [json.loads(line) for line in answer.iter_lines() if line]
    return " ".join(str(event["error"]) for event in events if "error" in event)


@contextmanager
def _answering() -> Iterator[None]:
    """Turn the end of the engine into one clear error."""
    from requests.exceptions import RequestException  # noqa: PLC0415  # with docker-py

    try:
        yield
    except RequestException as error:
        raise NotPossibleError(
            f"the engine does not answer any more: {error}",
            remedy="start it again (`docker info`), and look at its log",
        ) from error


@contextmanager
def _named(client: docker.DockerClient, ref: str, receiver: Receiver) -> Iterator[str]:
    """Give `ref` a name below the receiver's address for the time of the block."""
    name = f"{receiver.address}/{unfinished.name('push', 'image')}"
    engines.tag(client, ref, name)
    try:
        yield name
    finally:
        engines.untag(client, name)


def _of_inspect(attrs: dict[str, Any]) -> Image:
    diff_ids = attrs["RootFS"]["Layers"]
    return images.Image(
        config={
            "architecture": attrs["Architecture"],
            "os": attrs["Os"],
            "created": attrs.get("Created") or datetime.fromtimestamp(0, UTC).isoformat(),
            "config": attrs["Config"],
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        },
        layers=tuple(
            images.Descriptor(media_type=layers.MEDIA_TYPE, digest=digest, size=0)
            for digest in diff_ids
        ),
    )
