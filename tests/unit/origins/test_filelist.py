from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import DocumentError
from comfykiln.origins.filelist import faults_of, is_inside, list_tree, read_list

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = (hashlib.sha256(text).hexdigest() for text in (b"one\n", b"two\n"))
TEXT = f"{ONE}  644  a file.txt\n{TWO}  755  b/run.py\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "b").mkdir(parents=True)
    (folder / "a file.txt").write_text("one\n")
    (folder / "b" / "run.py").write_text("two\n")
    (folder / "b" / "run.py").chmod(0o755)
    return folder


def pinned(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "v1.files"
    path.write_text(text)
    return path


def test_a_list_is_made_of_a_tree_and_read_again(tree: Path, tmp_path: Path) -> None:
    assert list_tree(tree) == TEXT
    assert list_tree(tree, ["b/"]) == TEXT.splitlines(keepends=True)[0]
    assert list_tree(tree, ["a file.txt"]) == TEXT.splitlines(keepends=True)[1]
    read = read_list(pinned(tmp_path, TEXT))
    assert "".join(f"{file.line}\n" for file in read.values()) == TEXT
    assert faults_of(tree, read) == []


def test_every_difference_is_told(tree: Path, tmp_path: Path) -> None:
    read = read_list(pinned(tmp_path, TEXT + f"{ONE}  644  gone\n"))
    (tree / "a file.txt").write_text("One\n")
    (tree / "b" / "run.py").chmod(0o644)
    (tree / "extra").symlink_to("/etc")
    other = hashlib.sha256(b"One\n").hexdigest()

    assert faults_of(tree, read) == [
        f"a file.txt: sha256 {other[:12]}… instead of {ONE[:12]}…",
        "b/run.py: mode 644 instead of 755",
        "extra: not in the list",
        "gone: missing",
    ]


def test_a_link_in_the_place_of_a_file_is_no_file(tree: Path, tmp_path: Path) -> None:
    read = read_list(pinned(tmp_path, TEXT))
    (tree / "copy").write_text("one\n")
    (tree / "a file.txt").unlink()
    (tree / "a file.txt").symlink_to("copy")
    assert faults_of(tree, read) == ["a file.txt: no regular file", "copy: not in the list"]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (f"{ONE}  644  x\nnonsense\n", ["line 2: 'nonsense'"]),
        (f"{ONE}  777  x\n", [f"line 1: '{ONE}  777  x'"]),
        (f"{ONE}  644  ../x\n", ["the path '../x' leaves the tree"]),
        (f"{ONE}  644  /x\n", ["the path '/x' leaves the tree"]),
        (f"{ONE}  644  b\n{ONE}  644  a\n", ["the paths are not sorted, or one occurs twice"]),
        (f"{ONE}  644  a\n{ONE}  644  a\n", ["the paths are not sorted, or one occurs twice"]),
    ],
)
def test_a_faulty_list_is_refused(tmp_path: Path, text: str, faults: list[str]) -> None:
    with pytest.raises(DocumentError) as caught:
        read_list(pinned(tmp_path, text))
    assert list(caught.value.faults) == faults


@pytest.mark.parametrize("name", ["/x", "../x", "a/../x", "a//x", "", "..", "a\0b", "a\\..\\b"])
def test_a_name_that_leaves_its_folder_is_known(name: str) -> None:
    assert not is_inside(name)


def test_a_plain_name_stays_inside() -> None:
    assert is_inside("a/..b/c d")
    assert is_inside("folder/")
