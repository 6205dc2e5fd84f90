"""An OCI registry on loopback with one small image, for a real engine to pull from."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass

from tests.support.sites import Answer

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, kw_only=True)
class Image:
    """The answers that make up the image, its digest, and the path of its one layer."""

    answers: dict[str, Answer]
    digest: str
    layer: str


def image(repository: str, text: str) -> Image:
    """Return an image of one file `/hello` with the words `text`."""
    tar = _tar("hello", text.encode())
    layer = gzip.compress(tar, mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(tar)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
        }
    ).encode()
    root = f"/v2/{repository}"
    answers = {
        "/v2/": Answer(body=b"{}"),
        f"{root}/manifests/{_digest(manifest)}": Answer(
            body=manifest,
            headers={"Content-Type": MANIFEST, "Docker-Content-Digest": _digest(manifest)},
        ),
        f"{root}/blobs/{_digest(config)}": Answer(body=config),
        f"{root}/blobs/{_digest(layer)}": Answer(body=layer),
    }
    return Image(answers=answers, digest=_digest(manifest), layer=f"{root}/blobs/{_digest(layer)}")


def _tar(name: str, data: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def _descriptor(kind: str, data: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": _digest(data), "size": len(data)}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
