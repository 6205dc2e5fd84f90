"""Put the models into a verified image: in the engine, in an archive, in a registry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from comfykiln.engine import disk, unfinished
from comfykiln.engine import engine as engines
from comfykiln.oci import archiving, images, local
from comfykiln.oci.pushing import Push
from comfykiln.system import console
from comfykiln.verify.models import require_visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import docker

    from comfykiln.engine.engine import Engine
    from comfykiln.models.selection import ModelSet
    from comfykiln.oci.images import Image
    from comfykiln.oci.pushing import Sent
    from comfykiln.oci.registry import Repository

# The engine holds a layer as a blob, and unpacked.
ENGINE_COPIES = 2


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """The verified image `ref` of the engine, sealed with or without models, and the models."""

    client: docker.DockerClient
    engine: Engine
    ref: str
    models: ModelSet

    @cached_property
    def image(self) -> Image:
        """The image with the models of this build in place of any it had."""
        return images.with_models(self._read, self.models.layers)

    @cached_property
    def _read(self) -> Image:
        return local.read(self.client, self.engine, self.ref)

    def to_engine(self) -> None:
        """Make `ref` the image with the models; it is untouched unless all went well.

        A layer that the engine has from whichever image is not handed over again.
        """
        found = engines.require_image(self.client, self.ref)
        if self._unchanged(found.attrs):
            if self.models.inside:
                console.step(f"{self.ref} has its {len(self.models.inside)} model(s) already")
            return
        with console.timed("models into the engine"):
            self._replace()

    def _replace(self) -> None:
        name = unfinished.name("models", "image")
        try:
            self._append(name)
            sizes = {model.destination: model.size for model in self.models.inside}
            require_visible(self.client, name, sizes)
            engines.tag(self.client, name, self.ref)
        finally:
            engines.untag(self.client, name)

    def to_archive(self, path: Path) -> int:
        """Write the image with its models to `path`, and return the size in bytes."""
        size = archiving.write(
            self.client,
            self.engine,
            self.ref,
            self.image,
            self.models.layers,
            self.models.contents,
            path,
            ref=self.ref,
        )
        console.note(f"{path}: {size} bytes, {self.image.descriptor.digest}")
        return size

    def to_registry(self, repository: Repository, seen: Path) -> Sent:
        """Push the image with its models; the tag comes last. Returns what was sent."""
        push = Push(repository=repository, seen=seen)
        sent = push.image(
            self.client,
            self.engine,
            self.ref,
            self.image,
            self.models.layers,
            self.models.contents,
        )
        console.note(
            f"{repository.reference}@{sent.digest}: {sent.bytes / 1e6:.1f} MB sent, "
            f"{len(sent.there)} layer(s) there already, {len(sent.mounted)} mounted"
        )
        return sent

    def _unchanged(self, attrs: dict[str, Any]) -> bool:
        """Tell by the label alone whether the image has these very models."""
        label = (attrs["Config"].get("Labels") or {}).get(images.MODELS_LABEL, "[]")
        return bool(label == images.models_label(self.models.layers))

    def _append(self, name: str) -> None:
        """Load the image under `name`, at first without the layers that the engine has."""
        known = self._known()
        lacking = [layer for layer in self.models.layers if layer.digest not in known]
        disk.require_space(self.engine, ENGINE_COPIES * sum(layer.size for layer in lacking))
        try:
            local.append(self.client, self.image, lacking, self.models.contents, name)
        except local.RefusedError as error:
            if len(lacking) == len(self.models.layers):
                raise
            console.note(f"every model layer is handed over anew: {error.message}")
            engines.untag(self.client, name)
            local.append(self.client, self.image, self.models.layers, self.models.contents, name)

    def _known(self) -> set[str]:
        """Return the model layers that the engine holds as blobs already.

        Under overlay2 a layer counts only where it lies on the same layers as here.
        """
        own = [layer.digest for layer in self.models.layers]
        if not self.engine.containerd_store:
            return _shared_start(self._read, own)
        label = {"label": images.MODELS_LABEL}
        found = self.client.images.list(filters=label)
        return {digest for image in found for digest in engines.layer_digests(image)}


def _shared_start(image: Image, wanted: Sequence[str]) -> set[str]:
    has = list(dict.fromkeys(str(model["layer"]) for model in image.models))
    shared = 0
    while shared < min(len(has), len(wanted)) and has[shared] == wanted[shared]:
        shared += 1
    return set(wanted[:shared])
