"""comfy-pack: the real public pack, its folder and its zip, and hostile zips."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from comfykiln.documents import Kind, read, write
from comfykiln.documents.comfypack.format import parse, reread
from comfykiln.documents.comfypack.zips import MAX_MEMBERS, pack
from comfykiln.environment import (
    ComfyUISpec,
    Digest,
    Environment,
    Extra,
    Model,
    ModelSource,
    Node,
    Package,
    SystemSpec,
)
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import FaultyDocumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

DATA = Path(__file__).parent / "data"
SNAPSHOT = (DATA / "comfy-pack-snapshot.json").read_bytes()
REVISION = "11e721aed56491605270aae3c4d65316d59fcb54"
FILE = "pixelArtDiffusionXL_spriteShaper (1).safetensors"
REAL = Environment(
    system=SystemSpec(python="3.11"),
    comfyui=ComfyUISpec(commit="ca457f7ba1ff33bd0d724cd7324131509efcf3ec"),
    nodes=(
        Node(
            name="ComfyUI-Manager",
            source="git",
            url="https://github.com/ltdrdata/ComfyUI-Manager.git",
            commit="145410eb9332e620133d61324f6c9f87034ae393",
        ),
        Node(
            name="comfy-pack",
            source="git",
            url="https://github.com/bentoml/comfy-pack.git",
            commit="4bfd08cead1a98bacb93ed5b0defb896c20cee57",
        ),
    ),
    models=(
        Model(
            filename="pixelArtDiffusionXL_spriteShaper.safetensors",
            paths=("models/checkpoints/pixelArtDiffusionXL_spriteShaper.safetensors",),
            category="checkpoints",
            size=6938040682,
            digests=(
                Digest(
                    algorithm="sha256",
                    value="7adffa28d4003a773c2d4e5f10ae1ba63c33573967864a7f9a4a3be9c9f04a93",
                ),
            ),
            sources=(
                ModelSource(
                    url="https://huggingface.co/IronBullXD/AI_Mooodeeels/resolve/"
                    f"{REVISION}/{FILE}?download=true",
                    page=f"https://huggingface.co/IronBullXD/AI_Mooodeeels/blob/{REVISION}/{FILE}",
                    hub="huggingface",
                    repository="IronBullXD/AI_Mooodeeels",
                    revision=REVISION,
                    path=FILE,
                ),
            ),
            extras=(
                Extra(kind="comfypack", path="atime", json="1734504149.6992304"),
                Extra(kind="comfypack", path="ctime", json="1734502753.6664784"),
            ),
        ),
    ),
)


def zipped(files: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def test_the_real_snapshot() -> None:
    parsed = read(DATA / "comfy-pack-snapshot.json")
    assert parsed.kind is Kind.COMFYPACK
    assert parsed.environment == REAL


def test_requirements_beside_it_are_its_packages(tmp_path: Path) -> None:
    (tmp_path / "snapshot.json").write_bytes(SNAPSHOT)
    (tmp_path / "requirements.txt").write_text("numpy==1.26.4\ntorch\n# end\n")
    packages = (Package(name="numpy", version="1.26.4"), Package(name="torch"))
    assert read(tmp_path / "snapshot.json").environment.packages == packages
    assert read(tmp_path).environment.packages == packages


def test_a_zip_with_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "x.cpack.zip"
    members = [
        ("snapshot.json", SNAPSHOT),
        ("requirements.txt", b"numpy==1.26.4\n"),
        ("input/photo.png", b"\x89PNG"),
        ("README.md", b"not read"),
    ]
    path.write_bytes(zipped(members))
    environment = read(path).environment
    assert environment.packages == (Package(name="numpy", version="1.26.4"),)
    assert [(attachment.path, attachment.data) for attachment in environment.attachments] == [
        ("input/photo.png", b"\x89PNG")
    ]


def test_writing_and_reading_again_gives_the_same(tmp_path: Path) -> None:
    environment = parse(SNAPSHOT, "snapshot.json").environment
    written = write(environment, Kind.COMFYPACK)
    assert written.filename == "snapshot.json"
    assert [name for name, _ in written.beside] == ["requirements.txt"]
    assert reread(written) == environment
    packed = pack(written)
    assert packed.data == pack(written).data
    (tmp_path / "x.cpack.zip").write_bytes(packed.data)
    assert read(tmp_path / "x.cpack.zip").environment == environment


def test_what_is_written_is_what_comfy_pack_reads() -> None:
    assert json.loads(write(REAL, Kind.COMFYPACK).data) == json.loads(SNAPSHOT)


@pytest.mark.parametrize(
    ("document", "path", "rule"),
    [
        ({}, "$", "comfypack.required"),
        ({"custom_nodes": [{}]}, "$.custom_nodes[0]", "comfypack.required"),
        ({"custom_nodes": [], "python": 3.11}, "$.python", "comfypack.type"),
        ({"custom_nodes": [], "python": "3.11\n"}, "$.python", "comfypack.pattern"),
        ({"custom_nodes": [{"url": "ext::x"}]}, "$.custom_nodes[0].url", "url.transport"),
        (
            {"custom_nodes": [{"url": "https://h/r", "commit_hash": "-x"}]},
            "$.custom_nodes[0].commit_hash",
            "ref.dash",
        ),
        (
            {"custom_nodes": [], "models": [{"filename": "/etc/x"}]},
            "$.models[0].filename",
            "path.absolute",
        ),
        (
            {"custom_nodes": [], "models": [{"filename": "m/x", "size": -1}]},
            "$.models[0].size",
            "comfypack.minimum",
        ),
    ],
)
def test_each_fault_has_its_place_and_rule(document: object, path: str, rule: str) -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        parse(json.dumps(document).encode(), "snapshot.json")
    assert (path, rule) in [(fault.path, fault.rule) for fault in caught.value.records]


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    ("member", "rule"),
    [
        (("../up.txt", b""), "name.reserved"),
        (("/etc/x", b""), "name.empty"),
        (("input\\..\\x", b""), "name.separator"),
        (("input/a\nb", b""), "name.newline"),
        (("-x", b""), "name.dash"),
        (("SNAPSHOT.json", b""), "name.case"),
        ((link("input/link"), b"/etc/passwd"), "archive.link"),
        (("input/bomb", b"\0" * (10 * 1024 * 1024 + 1)), "archive.size"),
    ],
)
def test_a_hostile_member_is_named(
    tmp_path: Path, member: tuple[str | zipfile.ZipInfo, bytes], rule: str
) -> None:
    path = tmp_path / "x.cpack.zip"
    path.write_bytes(zipped([("snapshot.json", SNAPSHOT), member]))
    with pytest.raises(FaultyDocumentError) as caught:
        read(path)
    assert [fault.rule for fault in caught.value.records] == [rule]


def test_a_member_twice_and_too_many_members(tmp_path: Path) -> None:
    path = tmp_path / "x.cpack.zip"
    with pytest.warns(UserWarning, match="Duplicate name"):
        path.write_bytes(zipped([("snapshot.json", SNAPSHOT)] * 2))
    with pytest.raises(FaultyDocumentError, match=r"archive\.duplicate"):
        read(path)
    path.write_bytes(zipped([(f"{n}", b"") for n in range(MAX_MEMBERS + 1)]))
    with pytest.raises(FaultyDocumentError, match=r"archive\.length"):
        read(path)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"PK\x03\x04 no zip", "no intact zip archive"),
        (zipped([("snapshot.json", SNAPSHOT)])[:-40], "no intact zip archive"),
        (zipped([("other.json", b"{}")]), "holds no snapshot.json"),
    ],
)
def test_what_is_no_pack_is_said(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "x.cpack.zip"
    path.write_bytes(data)
    with pytest.raises(DocumentError, match=problem):
        read(path)


def test_the_snapshot_specs_words_for_a_commit() -> None:
    commit = "4bfd08cead1a98bacb93ed5b0defb896c20cee57"
    data = json.dumps({"custom_nodes": [{"url": "https://h/r", "hash": commit}]}).encode()
    (node,) = parse(data, "snapshot.json").environment.nodes
    assert node.commit == commit


def test_a_broken_workflow_is_a_fault_of_the_pack(tmp_path: Path) -> None:
    (tmp_path / "snapshot.json").write_text('{"custom_nodes": [{"url": "ext::x"}]}')
    (tmp_path / "workflow.json").write_text("{broken")
    with pytest.raises(FaultyDocumentError) as caught:
        read(tmp_path)
    assert [(fault.path, fault.rule) for fault in caught.value.records] == [
        ("$.custom_nodes[0].url", "url.transport"),
        ("workflow.json line 1 column 2", "reading.syntax"),
    ]
