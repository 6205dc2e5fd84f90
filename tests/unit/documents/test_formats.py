"""What each format declares of itself holds for its documents, and for each there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

import comfykiln
from comfykiln.documents import read, write
from comfykiln.documents.comfypack.zips import pack
from comfykiln.documents.convert import convert
from comfykiln.documents.detect import detect_bytes
from comfykiln.documents.formats import Format, format_of, formats, writable
from comfykiln.documents.pin import pin
from comfykiln.environment import ComfyUISpec, Environment, Node, SystemSpec, TorchSpec
from comfykiln.errors import DocumentError

DATA = Path(__file__).parent / "data"
SCHEMAS = Path(comfykiln.__file__).parent / "schemas"
NODE = Node(name="pack", source="git", url="https://github.com/o/pack", commit="1" * 40)
SMALL = Environment(
    comfyui=ComfyUISpec(version="v0.3.64"),
    nodes=(NODE,),
    system=SystemSpec(python="3.12.4"),
    torch=TorchSpec(version="2.9.0+cpu"),
)


def test_the_kinds_there_are() -> None:
    assert [found.kind for found in formats()][:6] == [
        "snapshot",
        "manifest",
        "export",
        "comfylock",
        "comfypack",
        "workflow",
    ]
    assert writable()[:5] == ("snapshot", "manifest", "export", "comfylock", "comfypack")
    assert "workflow" not in writable()


@pytest.mark.parametrize("found", formats(), ids=lambda found: found.kind)
def test_a_format_is_called_after_its_folder_and_has_a_schema(found: Format) -> None:
    assert found is format_of(found.kind)
    assert (SCHEMAS / f"{found.schema}.schema.json").is_file()


def test_no_two_formats_share_a_kind_a_place_or_the_rank_of_a_sign() -> None:
    kinds = [found.kind for found in formats()]
    ranks = [sign.rank for found in formats() for sign in found.signs]
    assert len(set(kinds)) == len(kinds)
    assert len(set(ranks)) == len(ranks)


@pytest.mark.parametrize("kind", writable())
def test_what_is_written_is_of_its_kind_and_reads_the_same(kind: str) -> None:
    written = write(SMALL, kind)
    assert written.kind == kind
    assert detect_bytes(written.data, written.filename).kind == kind
    again = format_of(kind).parse(written.data, written.filename)
    assert again.kind == kind
    assert again.form in (format_of(kind).forms or ("",))
    assert [(node.url, node.commit) for node in again.environment.nodes] == [
        (NODE.url, NODE.commit)
    ]
    assert convert(again.environment, "export").losses == ()


@pytest.mark.parametrize("path", sorted(DATA.iterdir()), ids=lambda path: path.name)
def test_each_form_of_a_document_is_declared(path: Path) -> None:
    try:
        parsed = read(path)
    except DocumentError:
        assert path.name in {"README-documents.md", "plain.png", "plain.webp"}
        return
    assert parsed.form in (format_of(parsed.kind).forms or ("",))


@pytest.mark.parametrize("kind", [found.kind for found in formats() if not found.pins])
def test_what_cannot_be_pinned_says_so(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    found = format_of(kind)
    path.write_bytes(write(SMALL, kind).data if found.write else b'{"nodes": []}')
    with pytest.raises(DocumentError, match=f"a {kind} holds no refs that can be pinned"):
        pin(path)


def test_an_archive_is_not_pinned_in_place(tmp_path: Path) -> None:
    path = tmp_path / "document.cpack.zip"
    path.write_bytes(pack(write(SMALL, "comfypack")).data)
    with pytest.raises(DocumentError, match="holds no refs that can be pinned in place") as caught:
        pin(path)
    assert caught.value.remedy == (f"write a pinned copy: `./kiln snapshot.pin {path} --out FILE`")


@pytest.mark.parametrize("name", ["none.json", "none.tar", "none.toml", "none.png", "none"])
def test_a_missing_file_is_missing_whatever_its_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="no such file") as caught:
        read(tmp_path / name)
    assert caught.value.remedy == "check the name"


def test_a_kind_that_is_only_read_is_not_written() -> None:
    with pytest.raises(DocumentError, match="a workflow cannot be written") as caught:
        write(SMALL, "workflow")
    assert caught.value.remedy == f"write one of {', '.join(writable())}"
