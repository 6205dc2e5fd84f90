"""An image as its manifest and config, and models added to it by editing the two."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from comfykiln.errors import KilnError
from comfykiln.oci import layers, tarheader
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfykiln.oci.layers import Layer

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
# On an image with models: JSON, one record a file, in the order of their layers.
MODELS_LABEL = "io.comfykiln.models"
_OCI = {
    "application/vnd.docker.distribution.manifest.v2+json": MANIFEST,
    "application/vnd.docker.container.image.v1+json": CONFIG,
    "application/vnd.docker.image.rootfs.diff.tar": layers.MEDIA_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{layers.MEDIA_TYPE}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": f"{layers.MEDIA_TYPE}+zstd",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Descriptor:
    """A blob's media type, digest (`sha256:` and 64 hex digits) and size in bytes."""

    media_type: str
    digest: str
    size: int

    def as_json(self) -> dict[str, Any]:
        """Return the descriptor as it stands in a manifest."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image: its config as data, its layers lowest first.

    `artifact_type` says what it is when it is not meant to be run.
    """

    config: Mapping[str, Any]
    layers: tuple[Descriptor, ...]
    artifact_type: str = ""

    @property
    def config_bytes(self) -> bytes:
        """The config blob."""
        return _compact(self.config)

    @property
    def config_descriptor(self) -> Descriptor:
        """What the manifest says of the config blob."""
        return described(CONFIG, self.config_bytes)

    @property
    def manifest_bytes(self) -> bytes:
        """The manifest, an OCI one."""
        return _compact(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                **({"artifactType": self.artifact_type} if self.artifact_type else {}),
                "config": self.config_descriptor.as_json(),
                "layers": [layer.as_json() for layer in self.layers],
            }
        )

    @property
    def descriptor(self) -> Descriptor:
        """What an index says of the manifest."""
        return described(MANIFEST, self.manifest_bytes)

    @property
    def diff_ids(self) -> list[str]:
        """The digests of the uncompressed layers, lowest first."""
        return list(self.config["rootfs"]["diff_ids"])

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels."""
        return dict(self.config.get("config", {}).get("Labels") or {})

    @property
    def models(self) -> list[dict[str, Any]]:
        """The models that the image says it holds: path, sha256, size, layer."""
        return labelled_models(self.labels)


def labelled_models(labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the models that an image's labels name: path, sha256, size, layer."""
    found: list[dict[str, Any]] = json.loads(labels.get(MODELS_LABEL, "[]"))
    return found


def described(media_type: str, data: bytes) -> Descriptor:
    """Return the descriptor of a blob."""
    return Descriptor(media_type=media_type, digest=f"sha256:{files.sha256(data)}", size=len(data))


def parse(manifest: bytes, config: bytes) -> Image:
    """Return the image of these two, in OCI's media types whichever they had.

    Raises `KilnError` when they do not belong together or are no image for one platform.
    """
    top = json.loads(manifest)
    if "layers" not in top:
        raise KilnError(
            f"{top.get('mediaType', 'a manifest')}: is no manifest of one image",
            remedy="build it with `./kiln build`, which makes images for one platform",
        )
    image = Image(
        config=json.loads(config),
        layers=tuple(_descriptor(layer) for layer in top["layers"]),
    )
    found = described(CONFIG, config).digest
    if top["config"]["digest"] != found or len(image.diff_ids) != len(image.layers):
        raise KilnError(
            f"the config {found} is not that of the manifest, which names "
            f"{top['config']['digest']} and {len(image.layers)} layers",
            remedy="build the image again",
        )
    return image


def with_models(image: Image, models: Sequence[Layer]) -> Image:
    """Return `image`, without the models it had, with the layers `models` (digests known) on top.

    Equal images and equal models give equal bytes.
    """
    base = without_models(image)
    if not models:
        return base
    labels = base.labels | {MODELS_LABEL: models_label(models)}
    added = [layer.digest for layer in models]
    config = _edited(
        base.config, labels, base.diff_ids + added, [_history_entry(model) for model in models]
    )
    return replace(
        base, config=config, layers=base.layers + tuple(_of_layer(model) for model in models)
    )


def without_models(image: Image) -> Image:
    """Return the image as it was before models were added to it."""
    named = [str(model["layer"]) for model in image.models]
    count = len(dict.fromkeys(named))
    if not count:
        return image
    if image.diff_ids[-count:] != list(dict.fromkeys(named)):
        raise KilnError(
            f"the label {MODELS_LABEL} names other layers than the image has",
            remedy="the image was changed after it was built: build it again",
        )
    labels = {key: value for key, value in image.labels.items() if key != MODELS_LABEL}
    config = _edited(image.config, labels, image.diff_ids[:-count], -count)
    return replace(image, config=config, layers=image.layers[:-count])


def models_label(models: Sequence[Layer]) -> str:
    """Return the value of the label that says which models an image holds."""
    return _compact(
        [
            {"path": file.path, "sha256": file.sha256, "size": file.size, "layer": layer.digest}
            for layer in models
            for file in layer.files
        ]
    ).decode()


def _edited(
    config: Mapping[str, Any],
    labels: Mapping[str, str],
    diff_ids: Sequence[str],
    history: list[dict[str, str]] | int,
) -> dict[str, Any]:
    """Return the config with other labels and layers; `history` is added, or its end taken away.

    An image without history gets none, since it would then tell of the models alone.
    """
    told = list(config.get("history") or [])
    if told:
        told = told[:history] if isinstance(history, int) else told + history
    return {
        **config,
        "config": {**config.get("config", {}), "Labels": dict(labels) or None},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        **({"history": told} if told else {}),
    }


def _history_entry(layer: Layer) -> dict[str, str]:
    first = layer.files[0].path
    more = f" and {len(layer.files) - 1} more" if len(layer.files) > 1 else ""
    return {
        "created": datetime.fromtimestamp(tarheader.MTIME, UTC).isoformat(),
        "created_by": f"comfykiln: model {first}{more}",
        "comment": layers.LAYER_FORMAT,
    }


def _of_layer(layer: Layer) -> Descriptor:
    return Descriptor(media_type=layers.MEDIA_TYPE, digest=layer.digest, size=layer.size)


def _descriptor(value: Mapping[str, Any]) -> Descriptor:
    kind = str(value["mediaType"])
    return Descriptor(
        media_type=_OCI.get(kind, kind), digest=str(value["digest"]), size=int(value["size"])
    )


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
