"""Put an image with models into a registry: nothing is sent twice, and the name comes last."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.oci import contents, images, local
from comfykiln.oci.registry import Blob
from comfykiln.oci.transport import TRIES, BrokenError
from comfykiln.system import console, files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from io import BufferedIOBase
    from pathlib import Path

    import docker

    from comfykiln.engine.engine import Engine
    from comfykiln.oci.contents import Contents
    from comfykiln.oci.images import Image
    from comfykiln.oci.layers import Layer
    from comfykiln.oci.references import Reference
    from comfykiln.oci.registry import Repository

CHUNK = 1 << 20
# A layer that comes straight from its source needs about 64 MiB of memory.
SIDE_BY_SIDE = 3
_SOFTWARE_TRIES = 3
_MOUNT_TRIES = 3
MB = 1_000_000


@dataclass(kw_only=True, slots=True)
class Sent:
    """What a push did: bytes sent, and digests of what was sent, mounted, and there already."""

    bytes: int = 0
    sent: list[str] = field(default_factory=list)
    mounted: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Push:
    """One push to one repository; `seen` is the folder of notes on what registries have."""

    repository: Repository
    seen: Path
    result: Sent = field(default_factory=Sent)

    def image(
        self,
        client: docker.DockerClient,
        engine: Engine,
        base: str,
        image: Image,
        models: Sequence[Layer],
        source: Contents,
    ) -> Sent:
        """Push `image`, whose layers but `models` are those of the engine's image `base`."""
        if not engine.containerd_store:
            raise NotPossibleError(
                "an engine with the overlay2 image store does not hand out layers as they are",
                remedy="switch it to the containerd image store (docs/setup.md), or "
                "`docker push` the image",
            )
        self.models(models, source)
        own = {layer.digest for layer in models}
        wanted = {layer.digest: layer.size for layer in image.layers if layer.digest not in own}
        self._software(client, base, wanted)
        return self.finish(image)

    def models(self, layers: Sequence[Layer], source: Contents) -> None:
        """Send the layers side by side; every one is tried before the first fault is raised."""
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            tasks = [pool.submit(self._layer, layer, source) for layer in layers]
        for task in tasks:
            task.result()

    def finish(self, image: Image) -> Sent:
        """Send the config, see that every blob is there, and only then tag the manifest."""
        config = image.config_descriptor
        own = _in_memory(image.config_bytes)
        if not self.repository.has(own.digest, own.size):
            self.repository.upload(own)
        for blob in (config, *image.layers):
            if not self.repository.has(blob.digest, blob.size):
                raise KilnError(
                    f"{self._reference.registry} lost {blob.digest}", remedy="push again"
                )
        self.result.digest = self.repository.put_manifest(
            self._reference.tag, image.manifest_bytes, images.MANIFEST
        )
        return self.result

    @property
    def _reference(self) -> Reference:
        return self.repository.reference

    def _layer(self, layer: Layer, source: Contents) -> None:
        open_at = partial(contents.chunks_from, layer, source)
        names = ", ".join(file.path for file in layer.files[:3])
        more = f" and {len(layer.files) - 3} more" if len(layer.files) > 3 else ""  # noqa: PLR2004  # those named
        started = time.monotonic()
        blob = Blob(digest=layer.digest, size=layer.size, open_at=open_at)
        done = self.there(blob.digest, blob.size) or self._sent(blob, names)
        rate = f", {layer.size / MB / max(time.monotonic() - started, 0.001):.0f} MB/s"
        console.note(
            f"{names}{more}: {done}{rate if done == 'sent' else ''} ({layer.size / MB:.1f} MB)"
        )

    def _sent(self, blob: Blob, names: str) -> str:
        """Send a layer of models, and say what is wrong where its digest is not that of its bytes.

        The digest came from models.lock, which spares reading a file only to hash it.
        """
        try:
            return self.send(blob)
        except KilnError as error:
            if "DIGEST_INVALID" not in error.message:
                raise
            raise KilnError(
                error.message,
                remedy=f"models.lock has a wrong layer digest of {names}: ./kiln models.lock "
                "--upgrade NAME, and commit it",
            ) from error

    def there(self, digest: str, size: int) -> str:
        """Return why the blob need not be sent: there already, or mounted now; '' when it must."""
        done = ""
        if self.repository.has(digest, size):
            self.result.there.append(digest)
            done = "there already"
        elif self._mounted(digest, size):
            self.result.mounted.append(digest)
            done = "mounted from another repository"
        if done:
            self._note(digest)
        return done

    def send(self, blob: Blob, *, tries: int = TRIES) -> str:
        """Send the blob."""
        self.repository.upload(blob, tries=tries)
        self.result.bytes += blob.size
        self.result.sent.append(blob.digest)
        self._note(blob.digest)
        return "sent"

    def _mounted(self, digest: str, size: int) -> bool:
        others = [name for name in self._noted(digest) if name != self._reference.repository]
        return any(self.repository.mount(digest, size, other) for other in others[-_MOUNT_TRIES:])

    def _software(self, client: docker.DockerClient, base: str, wanted: Mapping[str, int]) -> None:
        """Let the engine hand its layers through; a broken way is tried again from where it was."""
        for attempt in range(_SOFTWARE_TRIES):
            try:
                local.push(client, base, _Through(push=self, wanted=wanted))
            except BrokenError:
                if attempt == _SOFTWARE_TRIES - 1:
                    raise
                self.repository.transport.wait(attempt)
            else:
                return

    def _notes(self, digest: str) -> Path:
        host = self._reference.registry.replace(":", "_")
        return self.seen / host / f"{digest.replace(':', '-')}.json"

    def _noted(self, digest: str) -> list[str]:
        path = self._notes(digest)
        if not path.is_file():
            return []
        found: list[str] = json.loads(path.read_bytes())
        return found

    def _note(self, digest: str) -> None:
        """Remember that the repository has the blob: the next one may take it over from there."""
        known = self._noted(digest)
        if self._reference.repository not in known:
            files.write_bytes(
                self._notes(digest), files.canonical_json([*known, self._reference.repository])
            )


@dataclass(frozen=True, kw_only=True)
class _Through:
    """A sink that hands the engine's blobs on to the registry."""

    push: Push
    wanted: Mapping[str, int]

    def has(self, digest: str) -> bool:
        """Tell whether the layer need not be sent: the registry has it, or nobody wants it here.

        The engine's own config and model layers are none of this sink's.
        """
        return digest not in self.wanted or bool(self.push.there(digest, self.wanted[digest]))

    def take(self, digest: str, size: int, stream: BufferedIOBase) -> None:
        open_at = partial(_rest, stream, size, digest)
        self.push.send(Blob(digest=digest, size=size, open_at=open_at), tries=1)
        console.note(f"layer {digest[7:19]}: sent ({size / MB:.1f} MB)")


def _rest(stream: BufferedIOBase, size: int, digest: str, offset: int) -> Iterator[bytes]:
    """Yield what the engine sends, which can be read once only."""
    if offset:
        raise BrokenError(f"{digest} was cut off", remedy="push again")
    while size > 0:
        chunk = stream.read(min(CHUNK, size))
        if not chunk:
            raise KilnError(f"the engine broke off {digest}", remedy="look at its log; push again")
        size -= len(chunk)
        yield chunk


def _in_memory(data: bytes) -> Blob:
    return Blob(
        digest=f"sha256:{files.sha256(data)}",
        size=len(data),
        open_at=lambda offset: iter([data[offset:]]),
    )
