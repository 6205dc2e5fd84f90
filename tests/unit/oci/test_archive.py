from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from docker import DockerClient
from tests.support.sites import closed
from tests.unit.oci.test_images import base

from comfykiln.engine.engine import Engine
from comfykiln.errors import DocumentError, DriftError, KilnError, NotPossibleError
from comfykiln.oci import archive, archiving, contents, images, layers
from comfykiln.oci.layers import Layer, ModelFile

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.models import Files


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_a_partial_archive_has_the_new_layers_alone(model_files: Files) -> None:
    image = images.with_models(images.parse(*base()), model_files.layers)
    small = model_files.layers[-1]
    stream = archive.partial(image, "team/comfy:t", [small], model_files.contents)
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream)), mode="r:") as tar:
        found = {}
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
    blobs = {archive.blob_name(digest(data)) for name, data in found.items() if "blobs" in name}
    assert found.keys() == {"oci-layout", "index.json", "manifest.json", *blobs}
    assert blobs == {
        archive.blob_name(entry)
        for entry in (image.descriptor.digest, image.config_descriptor.digest, small.digest)
    }
    index = json.loads(found["index.json"])
    assert index["manifests"][0]["digest"] == image.descriptor.digest
    assert index["manifests"][0]["annotations"] == {
        "io.containerd.image.name": "docker.io/team/comfy:t",
        "org.opencontainers.image.ref.name": "t",
    }
    (old,) = json.loads(found["manifest.json"])
    assert old["RepoTags"] == ["team/comfy:t"]
    assert old["Layers"] == [archive.blob_name(layer.digest) for layer in image.layers]


@pytest.mark.parametrize(
    ("ref", "full"),
    [
        ("comfy:t", "docker.io/library/comfy:t"),
        ("a/b:t", "docker.io/a/b:t"),
        ("localhost/b:t", "localhost/b:t"),
        ("r.example.com/b:t", "r.example.com/b:t"),
        ("127.0.0.1:5/b:t", "127.0.0.1:5/b:t"),
    ],
)
def test_names_as_containerd_writes_them(ref: str, full: str) -> None:
    assert archive.full_name(ref) == full


def test_every_byte_of_an_archive_has_its_place(model_files: Files) -> None:
    image = images.with_models(images.parse(*base()), model_files.layers)
    places = archiving.arranged(image, model_files.layers, "team/comfy:t")
    large = model_files.layers[0]
    before, _ = layers.framing(large.files[0].path, large.size)
    content = places.blobs[large.digest] + len(before)
    assert content % 4096 == 0, "a file system that shares blocks could not share the model"
    ends = {offset: offset + len(data) for offset, data in places.pieces.items()}
    ends |= {
        places.blobs[layer.digest]: places.blobs[layer.digest] + layer.size
        for layer in image.layers
    }
    at = 0
    while at < places.size:
        at = ends[at]
    assert at == places.size


def test_an_archive_is_written_whole(model_files: Files, tmp_path: Path) -> None:
    """All blobs in any order give the file that tar reads in its order."""
    image = images.with_models(images.parse(*base()), model_files.layers)
    # The base's two layers: ten and five bytes, written as an engine would hand them out.
    places = archiving.arranged(image, model_files.layers, "team/comfy:t")
    path = tmp_path / "archive.tar"
    with path.open("wb") as file:
        for layer in reversed(model_files.layers):
            offset = places.blobs[layer.digest]
            archiving._write_layer(file.fileno(), layer, model_files.contents, offset)
        for offset, data in places.pieces.items():
            os.pwrite(file.fileno(), data, offset)
    assert path.stat().st_size == places.size
    with tarfile.open(path) as tar:
        for layer in model_files.layers:
            member = tar.extractfile(archive.blob_name(layer.digest))
            assert member is not None
            assert f"sha256:{hashlib.file_digest(member, 'sha256').hexdigest()}" == layer.digest  # type: ignore[arg-type]  # it reads


def test_an_engine_that_hands_out_other_bytes(tmp_path: Path) -> None:
    places = archiving.Places(pieces={}, blobs={digest(b"right"): 0}, size=5)
    with (tmp_path / "archive").open("wb") as file:
        sink = archiving._Blobs(handle=file.fileno(), places=places, wanted={digest(b"right"): 5})
        with pytest.raises(KilnError, match="hands out other bytes"):
            sink.take(digest(b"right"), 5, io.BytesIO(b"wrong"))
        with pytest.raises(KilnError, match="with 6 bytes, not 5"):
            sink.take(digest(b"right"), 6, io.BytesIO(b"right!"))
        with pytest.raises(KilnError, match="broke off after 3 of 5 bytes"):
            sink.take(digest(b"right"), 5, io.BytesIO(b"rig"))
        with pytest.raises(KilnError, match="did not hand out"):
            sink.require_all()
        sink.take(digest(b"right"), 5, io.BytesIO(b"right"))
        sink.require_all()
    assert (tmp_path / "archive").read_bytes() == b"right"


def test_a_store_whose_file_is_gone_or_has_another_size(model_files: Files) -> None:
    path = model_files.folder / "one"
    record = next(file for file in model_files.records if file.path == "loras/one.safetensors")
    source = model_files.contents
    path.write_bytes(b"shorter")
    with pytest.raises(KilnError, match=r"has 7 bytes, not 3000"):
        source.path(record)
    path.unlink()
    with pytest.raises(KilnError, match="is not there"):
        source.path(record)


def test_a_source_with_fewer_or_more_bytes(model_files: Files) -> None:
    record = next(file for file in model_files.records if file.path == "loras/one.safetensors")
    for size in (2999, 3001):
        other = ModelFile(path=record.path, sha256=record.sha256, size=size)
        stored = contents.Stored(path_of=lambda _: model_files.folder / "one")
        with pytest.raises((KilnError, DriftError)):
            list(contents.only(other, stored))


def test_the_bytes_of_a_layer_from_anywhere_on(model_files: Files) -> None:
    layer = model_files.layers[-1]
    whole = b"".join(contents.chunks(layer, model_files.contents))
    for offset in (0, 1, 511, 512, 3000, len(whole) - 1, len(whole)):
        rest = b"".join(contents.chunks_from(layer, model_files.contents, offset))
        assert rest == whole[offset:]


def test_a_digest_is_computed_once(model_files: Files) -> None:
    first = model_files.layers
    for path in model_files.paths.values():
        path.unlink()  # a second reading would fail
    cache, source = model_files.folder / "cache", model_files.contents
    known = [contents.with_digest(Layer(files=entry.files), source, cache) for entry in first]
    assert known == first


def test_an_engine_hands_out_only_what_is_wanted(tmp_path: Path) -> None:
    places = archiving.Places(pieces={}, blobs={digest(b"right"): 0}, size=5)
    with (tmp_path / "archive").open("wb") as file:
        sink = archiving._Blobs(handle=file.fileno(), places=places, wanted={digest(b"right"): 5})
        # An image with models hands out neither those nor its config: both come from here.
        assert sink.has(digest(b"a model layer or a config"))
        assert not sink.has(digest(b"right"))
        sink.take(digest(b"right"), 5, io.BytesIO(b"right"))
        assert sink.has(digest(b"right"))


def write(path: Path, model_files: Files, *, store: str = "containerd", size: int = 5) -> None:
    """Begin to write an archive; the faults under test come before the engine is asked."""
    engine = Engine(version="26.1", store=store, data_root="/", architecture="x86_64")
    image = images.parse(*base())
    first = replace(image.layers[0], size=size)
    image = replace(image, layers=(first, *image.layers[1:]))
    archiving.write(
        DockerClient(base_url=closed().replace("http:", "tcp:"), version="1.45"),
        engine,
        "base",
        image,
        [],
        model_files.contents,
        path,
        ref="team/comfy:t",
    )


def test_a_disk_that_is_too_small_is_told_before_the_first_byte(
    model_files: Files, tmp_path: Path
) -> None:
    path = tmp_path / "archive.tar"
    path.write_bytes(b"old")
    with pytest.raises(NotPossibleError, match=r"the archive needs 1000000\.0 GB"):
        write(path, model_files, size=10**15)
    assert path.read_bytes() == b"old"
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.is_file()) == ["archive.tar"]


def test_a_folder_is_no_archive(model_files: Files, tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="is a folder"):
        write(tmp_path, model_files)


def test_overlay2_hands_out_no_layers(model_files: Files, tmp_path: Path) -> None:
    with pytest.raises(NotPossibleError, match="overlay2"):
        write(tmp_path / "archive.tar", model_files, store="overlay2")


def test_an_engine_that_is_gone_leaves_the_old_archive(model_files: Files, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    path.write_bytes(b"old")
    with pytest.raises(NotPossibleError, match="the engine does not answer any more"):
        write(path, model_files)
    assert path.read_bytes() == b"old"
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.is_file()) == ["archive.tar"]
