"""An image as one tar: an OCI layout that also has what `docker load` of old wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfykiln.oci import contents, images, tarheader
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comfykiln.oci.contents import Contents
    from comfykiln.oci.images import Image
    from comfykiln.oci.layers import Layer

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def blob_name(digest: str) -> str:
    """Return the path of a blob inside a layout."""
    return f"blobs/{digest.replace(':', '/')}"


def front(image: Image, ref: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of the small members, which say what the image `ref` is made of."""
    index = {
        "schemaVersion": 2,
        "mediaType": images.INDEX,
        "manifests": [
            {
                **image.descriptor.as_json(),
                "annotations": {
                    "io.containerd.image.name": full_name(ref),
                    "org.opencontainers.image.ref.name": ref.rpartition(":")[2],
                },
                "platform": {
                    "architecture": image.config["architecture"],
                    "os": image.config["os"],
                },
            }
        ],
    }
    old = [
        {
            "Config": blob_name(image.config_descriptor.digest),
            "RepoTags": [ref],
            "Layers": [blob_name(layer.digest) for layer in image.layers],
        }
    ]
    yield "oci-layout", LAYOUT
    yield "index.json", files.canonical_json(index)
    yield "manifest.json", files.canonical_json(old)
    yield blob_name(image.descriptor.digest), image.manifest_bytes
    yield blob_name(image.config_descriptor.digest), image.config_bytes


def member(name: str, data: bytes) -> bytes:
    """Return a whole small member: header, data, padding."""
    return tarheader.file(name, len(data)) + data + tarheader.padding(len(data))


def partial(
    image: Image, ref: str, added: Sequence[Layer], source: Contents
) -> Iterator[bytes | memoryview]:
    """Yield an archive that holds, of all layers, only those `added` to what the engine has."""
    for name, data in front(image, ref):
        yield member(name, data)
    for layer in added:
        yield tarheader.file(blob_name(layer.digest), layer.size)
        yield from contents.chunks(layer, source)
        yield tarheader.padding(layer.size)
    yield tarheader.END


def full_name(ref: str) -> str:
    """Return `ref` with its registry, as containerd writes names."""
    first, slash, _ = ref.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return ref
    return f"docker.io/{ref}" if slash else f"docker.io/library/{ref}"
