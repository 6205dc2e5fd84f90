from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.support import ociregistry
from tests.unit.oci.test_images import base

from comfykiln.errors import KilnError
from comfykiln.network.indexes import IndexSettings
from comfykiln.oci import artifact, images, references, registry
from comfykiln.oci.pushing import Push, _Through
from comfykiln.oci.transport import BrokenError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.models import Files


def push_to(address: str, seen: Path, name: str = "team/models") -> Push:
    repository = registry.repository(references.parse(f"{address}/{name}:t"), IndexSettings())
    repository.transport.pause = 0.001
    return Push(repository=repository, seen=seen)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_models_are_sent_once_and_mounted_elsewhere(model_files: Files, tmp_path: Path) -> None:
    image = artifact.of_layers(model_files.layers)
    with ociregistry.serve() as (address, state):
        for name, did in (
            ("team/models", "sent"),
            ("team/models", "there"),
            ("team/others", "mounted"),
        ):
            push = push_to(address, tmp_path / "seen", name)
            push.models(model_files.layers, model_files.contents)
            result = push.finish(image)
            done = sorted(getattr(result, did))
            assert done == sorted(layer.digest for layer in model_files.layers)
            assert result.digest == image.descriptor.digest
            assert state.manifests[f"{name}:t"] == image.manifest_bytes
        total = sum(layer.size for layer in model_files.layers)
        assert state.received == total + 2 * len(image.config_bytes)


def test_a_wrong_layer_digest_of_the_lock_is_told_as_such(
    model_files: Files, tmp_path: Path
) -> None:
    wrong = replace(model_files.layers[0], digest=f"sha256:{'1' * 64}")
    with ociregistry.serve() as (address, state):
        with pytest.raises(KilnError, match="DIGEST_INVALID") as caught:
            push_to(address, tmp_path / "seen").models([wrong], model_files.contents)
        assert caught.value.remedy == (
            f"models.lock has a wrong layer digest of {wrong.files[0].path}: "
            "./kiln models.lock --upgrade NAME, and commit it"
        )
        assert state.blobs == {}


def test_the_name_comes_last(model_files: Files, tmp_path: Path) -> None:
    with ociregistry.serve(lose_blobs=True) as (address, state):
        push = push_to(address, tmp_path / "seen")
        with pytest.raises(KilnError):
            push.models(model_files.layers, model_files.contents)
        assert state.manifests == {}


def test_a_changed_file_never_becomes_a_blob(model_files: Files, tmp_path: Path) -> None:
    layers = model_files.layers
    (model_files.folder / "one").write_bytes(b"eno" * 1000)
    with ociregistry.serve() as (address, state):
        push = push_to(address, tmp_path / "seen")
        with pytest.raises(KilnError, match="DIGEST_INVALID"):
            push.models(layers, model_files.contents)
        assert layers[-1].digest not in state.blobs["team/models"]


def test_a_repository_that_is_not_ours_to_read_is_no_obstacle(
    model_files: Files, tmp_path: Path
) -> None:
    layer = model_files.layers[-1]
    with ociregistry.serve() as (address, state):
        push = push_to(address, tmp_path / "seen")
        notes = push._notes(layer.digest)
        notes.parent.mkdir(parents=True)
        notes.write_text(json.dumps(["gone/away"]), "utf-8")
        push.models([layer], model_files.contents)
        assert push.result.sent == [layer.digest]
        assert state.uploads == {}


def test_the_engines_layers_pass_through(tmp_path: Path) -> None:
    image = images.parse(*base())
    with ociregistry.serve() as (address, state):
        push = push_to(address, tmp_path / "seen")
        through = _Through(push=push, wanted={digest(b"layer"): 5})
        assert through.has(image.config_descriptor.digest), "its config is not wanted"
        assert not through.has(digest(b"layer"))
        through.take(digest(b"layer"), 5, io.BytesIO(b"layer"))
        assert state.blobs["team/models"] == {digest(b"layer"): b"layer"}
        assert through.has(digest(b"layer"))
        assert push.result.bytes == 5


def test_a_layer_of_the_engines_that_is_cut_off_is_not_taken_for_whole(tmp_path: Path) -> None:
    data = bytes(2_000_000)
    with ociregistry.serve(cut_uploads=1, cut_after=1000) as (address, state):
        push = push_to(address, tmp_path / "seen")
        through = _Through(push=push, wanted={digest(data): len(data)})
        with pytest.raises(BrokenError, match="was cut off 1 time"):
            through.take(digest(data), len(data), io.BytesIO(data))
        assert state.blobs == {}
