from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import DocumentError
from comfykiln.oci import layers
from comfykiln.oci.layers import Layer, ModelFile

if TYPE_CHECKING:
    from pathlib import Path


def model(path: str, data: bytes) -> ModelFile:
    return ModelFile(path=path, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def packed(layer: Layer, contents: dict[str, bytes]) -> bytes:
    return b"".join(
        contents[piece.path] if isinstance(piece, ModelFile) else piece for piece in layer.pieces()
    )


def members(data: bytes) -> list[tuple[str, str, int, int, int, int, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        found = []
        for info in tar:
            file = tar.extractfile(info)
            body = b"" if file is None else file.read()
            kind = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "folder"}[info.type]
            found.append((info.name, kind, info.mode, info.uid, info.gid, int(info.mtime), body))
    return found


def test_one_file_in_its_own_layer() -> None:
    data = b"weights" * 1000
    before, after = layers.framing("checkpoints/sub/a.safetensors", len(data))
    assert members(before + data + after) == [
        ("app", "folder", 0o755, 0, 0, 1_760_000_000, b""),
        ("app/models", "folder", 0o755, 0, 0, 1_760_000_000, b""),
        ("app/models/checkpoints", "folder", 0o755, 0, 0, 1_760_000_000, b""),
        ("app/models/checkpoints/sub", "folder", 0o755, 0, 0, 1_760_000_000, b""),
        ("app/models/checkpoints/sub/a.safetensors", "file", 0o644, 0, 0, 1_760_000_000, data),
    ]
    alone = Layer(files=(model("checkpoints/sub/a.safetensors", data),))
    assert packed(alone, {"checkpoints/sub/a.safetensors": data}) == before + data + after
    assert alone.size == len(before + data + after)


def test_the_bytes_of_the_format_are_fixed() -> None:
    """Another digest here is another LAYER_FORMAT: all layers that people have would be others."""
    before, after = layers.framing("vae/é.safetensors", 3)
    assert layers.LAYER_FORMAT == "kiln-tar-1"
    assert layers.digest_of([before, b"abc", after]) == (
        "sha256:a0ad118d80ba0c3de04219dfeea73165c3af215524bec8bd23646bacdfc7c22c"
    )


@pytest.mark.parametrize(
    "path",
    [
        "loras/" + "x" * 88,
        "loras/" + "x" * 89,
        "loras/" + "x" * 150,
        "loras/" + "y" * 60 + "/" + "x" * 90,
        "/".join(["d" * 50] * 6) + "/f",
        "loras/modèle-été.safetensors",
        "checkpoints/with space 'quoted' $HOME.safetensors",
    ],
)
def test_names_of_every_length_come_back(path: str, tmp_path: Path) -> None:
    before, after = layers.framing(path, 3)
    data = before + b"abc" + after
    assert members(data)[-1][0] == f"app/models/{path}"
    file = tmp_path / "layer.tar"
    file.write_bytes(data)
    listed = subprocess.run(
        ["tar", "tf", str(file), "--quoting-style=literal"],
        capture_output=True,
        check=True,
        text=True,
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )
    assert (listed.stdout.splitlines()[-1], listed.stderr) == (f"app/models/{path}", "")


@pytest.mark.parametrize("size", [(8 << 30) - 1, 8 << 30, 100 * 10**9])
def test_sizes_around_eight_gibibytes(size: int) -> None:
    before, after = layers.framing("checkpoints/large.safetensors", size)
    with tarfile.open(fileobj=io.BytesIO(before), mode="r:") as tar:
        last = [tar.next() for _ in range(4)][-1]
    assert last is not None
    assert (last.name, last.size) == ("app/models/checkpoints/large.safetensors", size)
    assert last.offset_data == len(before)
    assert len(after) == -size % 512 + 1024


def test_large_files_alone_and_small_ones_together() -> None:
    limit = 64_000_000
    found = layers.arrange(
        [
            ModelFile(path="vae/small.safetensors", sha256="a" * 64, size=limit - 1),
            ModelFile(path="vae/large.safetensors", sha256="b" * 64, size=limit),
            ModelFile(path="checkpoints/larger.safetensors", sha256="c" * 64, size=limit * 2),
            ModelFile(path="clip/empty", sha256="d" * 64, size=0),
        ]
    )
    assert [[file.path for file in layer.files] for layer in found] == [
        ["checkpoints/larger.safetensors"],
        ["vae/large.safetensors"],
        ["clip/empty", "vae/small.safetensors"],
    ]


def test_small_files_share_folders() -> None:
    contents = {"b/two": b"2", "a/x/one": b"1", "a/three": b""}
    (layer,) = layers.arrange(model(path, data) for path, data in contents.items())
    assert [(name, body) for name, *_, body in members(packed(layer, contents))] == [
        ("app", b""),
        ("app/models", b""),
        ("app/models/a", b""),
        ("app/models/a/x", b""),
        ("app/models/b", b""),
        ("app/models/a/three", b""),
        ("app/models/a/x/one", b"1"),
        ("app/models/b/two", b"2"),
    ]
    assert len(packed(layer, contents)) == layer.size


def test_no_models_are_no_layers() -> None:
    assert layers.arrange([]) == []


def test_every_bad_destination_is_told_at_once() -> None:
    bad = ["/etc/passwd", "../up", "a/../b", "a//b", "", "a/.wh.b", "a\nb", "a\\b", "n" * 256]
    clash = ["same/file", "same/file", "file", "file/below"]
    with pytest.raises(DocumentError) as caught:
        layers.arrange(ModelFile(path=path, sha256="0" * 64, size=1) for path in bad + clash)
    assert list(caught.value.faults) == sorted(
        [
            "'': is no plain relative path",
            "'../up': is no plain relative path",
            "'/etc/passwd': is no plain relative path",
            "'a/../b': is no plain relative path",
            "'a//b': is no plain relative path",
            "'a/.wh.b': a name that begins with .wh. would delete a file of the image",
            "'a\\nb': holds a control character or a backslash",
            "'a\\\\b': holds a control character or a backslash",
            f"'{'n' * 256}': has a name of more than 255 bytes",
            "'same/file': two models have this destination",
            "'file/below': lies below 'file', which is a model itself",
        ]
    )
