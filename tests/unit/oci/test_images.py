from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from comfykiln.errors import KilnError
from comfykiln.oci import artifact, images
from comfykiln.oci.layers import Layer, ModelFile

if TYPE_CHECKING:
    from collections.abc import Sequence

BASE = ["sha256:" + "a" * 64, "sha256:" + "b" * 64]


def base(**config: Any) -> tuple[bytes, bytes]:
    """The manifest and config of a Docker image of two layers, as an engine hands them out."""
    body = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2025-10-09T08:53:20Z",
        "config": {"User": "1000:1000", "Labels": {"own": "é"}, "Healthcheck": {"Test": ["CMD"]}},
        "rootfs": {"type": "layers", "diff_ids": BASE},
        "history": [{"created_by": "one"}, {"created_by": "two"}],
        **config,
    }
    data = json.dumps(body, indent=3).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
            "size": len(data),
        },
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar",
                "digest": BASE[0],
                "size": 10,
            },
            {
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "digest": "sha256:" + "c" * 64,
                "size": 5,
            },
        ],
    }
    return json.dumps(manifest).encode(), data


def models(*marks: str) -> Sequence[Layer]:
    found = [
        Layer(
            files=(ModelFile(path=f"vae/{mark}", sha256=mark * 64, size=70_000_000),),
            digest="sha256:" + mark * 64,
        )
        for mark in marks
    ]
    small = tuple(ModelFile(path=f"loras/{n}", sha256="e" * 64, size=1) for n in "12")
    return [*found, Layer(files=small, digest="sha256:" + "f" * 64)]


def test_models_on_top_of_an_image() -> None:
    image = images.with_models(images.parse(*base()), models("1"))
    assert json.loads(image.manifest_bytes) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": f"sha256:{hashlib.sha256(image.config_bytes).hexdigest()}",
            "size": len(image.config_bytes),
        },
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": BASE[0],
                "size": 10,
            },
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": "sha256:" + "c" * 64,
                "size": 5,
            },
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": "sha256:" + "1" * 64,
                "size": 70_000_000 + 128 + 4 * 512 + 1024,
            },
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": "sha256:" + "f" * 64,
                "size": 3 * 512 + 2 * 1024 + 1024,
            },
        ],
    }
    config = json.loads(image.config_bytes)
    label = json.loads(config["config"]["Labels"].pop("io.comfykiln.models"))
    assert label == [
        {"path": "vae/1", "sha256": "1" * 64, "size": 70_000_000, "layer": "sha256:" + "1" * 64},
        {"path": "loras/1", "sha256": "e" * 64, "size": 1, "layer": "sha256:" + "f" * 64},
        {"path": "loras/2", "sha256": "e" * 64, "size": 1, "layer": "sha256:" + "f" * 64},
    ]
    assert image.models == label
    assert config == {
        "architecture": "amd64",
        "os": "linux",
        "created": "2025-10-09T08:53:20Z",
        "config": {"User": "1000:1000", "Labels": {"own": "é"}, "Healthcheck": {"Test": ["CMD"]}},
        "rootfs": {
            "type": "layers",
            "diff_ids": [*BASE, "sha256:" + "1" * 64, "sha256:" + "f" * 64],
        },
        "history": [
            {"created_by": "one"},
            {"created_by": "two"},
            {
                "created": "2025-10-09T08:53:20+00:00",
                "created_by": "comfykiln: model vae/1",
                "comment": "kiln-tar-1",
            },
            {
                "created": "2025-10-09T08:53:20+00:00",
                "created_by": "comfykiln: model loras/1 and 1 more",
                "comment": "kiln-tar-1",
            },
        ],
    }


def test_models_replace_those_that_were_there() -> None:
    image = images.parse(*base())
    first, second = images.with_models(image, models("1")), images.with_models(image, models("2"))
    assert images.with_models(first, models("2")) == second
    assert images.with_models(first, models("1")) == first
    assert images.without_models(first) == images.without_models(image) == image
    assert images.with_models(first, []) == image


def test_an_image_without_history_and_labels_gets_no_history() -> None:
    image = images.parse(*base(history=[], config={}))
    config = images.with_models(image, models("1")).config
    assert not config["history"]
    assert list(config["config"]) == ["Labels"]


def test_a_label_that_lies_about_the_layers() -> None:
    image = images.with_models(images.parse(*base()), models("1"))
    config = json.loads(image.config_bytes)
    config["rootfs"]["diff_ids"][-1] = "sha256:" + "0" * 64
    lying = images.Image(config=config, layers=image.layers)
    with pytest.raises(KilnError, match="names other layers than the image has"):
        images.with_models(lying, models("2"))


def test_a_config_of_another_image() -> None:
    manifest, _ = base()
    _, other = base(created="2026-01-01T00:00:00Z")
    with pytest.raises(KilnError, match="is not that of the manifest"):
        images.parse(manifest, other)


def test_an_index_is_no_image() -> None:
    index = b'{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    with pytest.raises(KilnError, match="is no manifest of one image"):
        images.parse(index, b"{}")


def test_models_alone_are_an_artifact_with_a_config_to_unpack() -> None:
    found = artifact.of_layers(models("1"))
    manifest = json.loads(found.manifest_bytes)
    assert manifest["artifactType"] == "application/vnd.comfykiln.models.v1"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert found.diff_ids == ["sha256:" + "1" * 64, "sha256:" + "f" * 64]
    assert found.config["architecture"] == "amd64"
