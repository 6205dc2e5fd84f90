"""What a look into a file's header refuses."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.modelfiles import raw_safetensors, safetensors

from comfykiln.models.inspecting import problem_of

if TYPE_CHECKING:
    from pathlib import Path

NAME = "vae/x.safetensors"


def tensor(begin: int, end: int, **changes: Any) -> dict[str, Any]:
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]} | changes


def problem(tmp_path: Path, data: bytes, name: str = NAME, *, allowed: bool = False) -> str:
    path = tmp_path / "file"
    path.write_bytes(data)
    return problem_of(path, name, pickle_allowed=allowed)


def torch_archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1]))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ({"a": tensor(0, 4), "b": tensor(4, 10), "__metadata__": {"format": "pt"}}, 10),
        ({"b": tensor(4, 10), "a": tensor(0, 4)}, 10),
        ({"a": tensor(0, 12, dtype="F32", shape=[3])}, 12),
        ({"a": tensor(0, 0, dtype="BF16", shape=[0, 7]), "b": tensor(0, 4)}, 4),
        ({"a": tensor(0, 4, dtype="F32", shape=[])}, 4),
        ({"a": tensor(0, 3, dtype="NEWER_THAN_WE_KNOW", shape=[7])}, 3),
        ({}, 0),
    ],
)
def test_a_true_header_passes(tmp_path: Path, header: dict[str, Any], size: int) -> None:
    assert problem(tmp_path, raw_safetensors(header, bytes(size))) == ""


@pytest.mark.parametrize(
    ("header", "size", "said"),
    [
        (
            {"a": tensor(0, 4), "b": tensor(2, 6)},
            6,
            "its tensor 'b' overlaps the one before (byte 2 instead of 4)",
        ),
        (
            {"a": tensor(0, 4), "b": tensor(6, 8)},
            8,
            "its tensor 'b' leaves a gap before it (byte 6 instead of 4)",
        ),
        ({"a": tensor(2, 4)}, 4, "its tensor 'a' leaves a gap before it (byte 2 instead of 0)"),
        ({"a": tensor(0, 4)}, 5, "its tensors have 4 bytes, the file has 5 for them"),
        ({"a": tensor(0, 9)}, 5, "its tensors have 9 bytes, the file has 5 for them"),
        (
            {"a": tensor(0, 4, dtype="F32", shape=[2])},
            4,
            "its tensor 'a' has 4 bytes, which is not what its shape takes",
        ),
        ({"a": tensor(0, 4, data_offsets=[4, 0])}, 4, "its tensor 'a' has no valid data_offsets"),
        ({"a": tensor(0, 4, data_offsets=[-4, 0])}, 4, "its tensor 'a' has no valid data_offsets"),
        ({"a": tensor(0, 4, data_offsets=[0.0, 4])}, 4, "its tensor 'a' has no valid data_offsets"),
        ({"a": tensor(0, 4, shape=[True])}, 4, "its tensor 'a' has no shape"),
        ({"a": 4}, 4, "its tensor 'a' is no map"),
        ({"__metadata__": {"a": 1}}, 0, "its __metadata__ is no map of texts"),
        (b"[]", 0, "its header is no JSON object"),
        (b'{"a": 1, "a": 2}', 0, "its header is no JSON object with each key once (ValueError)"),
        (
            b"\xff\xff",
            0,
            "its header is no JSON object with each key once (UnicodeDecodeError)",
        ),
        (
            b"[" * 100_000,
            0,
            "its header is no JSON object with each key once (RecursionError)",
        ),
    ],
)
def test_a_lying_header_is_told(tmp_path: Path, header: Any, size: int, said: str) -> None:
    assert problem(tmp_path, raw_safetensors(header, bytes(size))) == said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "its header would have 0 of 0 bytes"),
        (b"\x05\0\0\0\0\0\0\0{}", "its header would have 5 of 10 bytes"),
        (safetensors(100)[:-1], "its tensors have 100 bytes, the file has 99 for them"),
        (pickle.dumps([1]), "it is a pickle, not what its name says"),
        (torch_archive(), "it is a pickle, not what its name says"),
    ],
)
def test_what_is_no_safetensors_file_is_told(tmp_path: Path, data: bytes, said: str) -> None:
    assert problem(tmp_path, data) == said


def test_a_header_of_no_sensible_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write((40 << 20).to_bytes(8, "little"))
        file.truncate(50 << 20)
    said = problem_of(path, NAME, pickle_allowed=False)
    assert said == "its header has 41,943,040 bytes, more than 33,554,432"


def test_pickles_need_a_permission_whatever_they_are_called(tmp_path: Path) -> None:
    refused = "it is a pickle, which can run code when it is loaded, and nothing allows it"
    for data, name in (
        (pickle.dumps([1], protocol=2), "loras/x.onnx"),
        (torch_archive(), "loras/x.dat"),
        (b"anything", "loras/x.PTH"),
    ):
        assert problem(tmp_path, data, name) == refused
        assert problem(tmp_path, data, name, allowed=True) == ""
    assert problem(tmp_path, b"PK\x03\x04 but no archive", "loras/x.dat") == ""


def gguf(version: int = 3, tensors: int = 1, pairs: int = 2) -> bytes:
    return (
        b"GGUF"
        + version.to_bytes(4, "little")
        + tensors.to_bytes(8, "little")
        + pairs.to_bytes(8, "little")
        + bytes(100)
    )


def test_gguf_files_begin_as_they_should(tmp_path: Path) -> None:
    name = "unet/x.gguf"
    assert problem(tmp_path, gguf(), name) == ""
    assert problem(tmp_path, b"GGML" + bytes(40), name) == "it does not begin with GGUF"
    assert problem(tmp_path, gguf()[:20], name) == "it ends after 20 bytes, within its header"
    assert problem(tmp_path, gguf(version=9), name) == "its GGUF version is 9"
    said = problem(tmp_path, gguf(tensors=10**12), name)
    assert said == "it announces 1,000,000,000,000 tensors and 2 values in 124 bytes"
