from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import DocumentError
from comfykiln.git.pack import BLOCK, pack, read_objects
from comfykiln.git.repository import GitTree, read_repository

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://kiln.invalid/nodes/one"
AUTHOR = ("-c", "user.name=Test", "-c", "user.email=test@kiln.invalid")


def git(folder: Path, *words: str) -> str:
    argv = ["git", "-C", str(folder), *AUTHOR, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "a folder").mkdir(parents=True)
    (folder / "a folder" / "big.bin").write_bytes(bytes(range(256)) * 1024)
    (folder / "empty").touch()
    (folder / "requirements.txt").write_bytes(b"\xef\xbb\xbfnumpy\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def read(work: Path, folder: Path) -> GitTree:
    folder.mkdir()
    return read_repository(work / ".git", URL, git(work, "rev-parse", "HEAD"), folder)


def test_git_reads_the_pack_back(work: Path, tmp_path: Path) -> None:
    found = read(work, tmp_path / "out")
    copy = tmp_path / "copy"
    subprocess.run(["git", "init", "-q", copy], check=True)
    with found.pack.open("rb") as data:
        argv = ["git", "-C", str(copy), "index-pack", "--strict", "--stdin"]
        subprocess.run(argv, stdin=data, check=True, capture_output=True)
    git(copy, "reset", "-q", "--hard", found.commit)
    assert git(copy, "status", "--porcelain") == ""
    assert (copy / "a folder" / "big.bin").read_bytes() == bytes(range(256)) * 1024
    assert found.requirements == "numpy\n"
    assert (found.install_script, found.submodules, found.lfs, found.lacking) == (False, (), (), ())
    assert GitTree.from_json(found.as_json(), found.pack.parent) == found


def test_the_same_commit_is_the_same_pack_however_git_keeps_it(work: Path, tmp_path: Path) -> None:
    before = read(work, tmp_path / "before")
    git(work, "repack", "-adfq", "--window=50")
    git(work, "config", "core.compression", "9")
    after = read(work, tmp_path / "after")
    assert before.pack.read_bytes() == after.pack.read_bytes()
    assert before.sha256 == after.sha256


def test_an_object_longer_than_a_block_and_an_empty_one(work: Path) -> None:
    names = git(work, "rev-list", "--objects", "HEAD").split()[::1]
    wanted = sorted({name for name in names if len(name) == 40})
    objects = [entry for entry in read_objects(work / ".git", wanted) if not isinstance(entry, str)]
    sizes = sorted(len(entry.data) for entry in objects)
    assert sizes[0] == 0
    assert sizes[-1] > BLOCK
    assert pack(objects) == pack(reversed(objects))


def test_missing_files_are_named_and_pointers_are_found(work: Path, tmp_path: Path) -> None:
    (work / "model.bin").write_text("version https://git-lfs.github.com/spec/v1\noid x\n", "utf-8")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "two")
    name = git(work, "rev-parse", "HEAD:a folder/big.bin")
    (work / ".git" / "objects" / name[:2] / name[2:]).unlink()
    found = read(work, tmp_path / "out")
    assert found.lacking == ("a folder/big.bin",)
    assert found.lfs == ("model.bin",)


def test_a_submodule_is_read_with_its_address_and_commit(work: Path, tmp_path: Path) -> None:
    commit = git(work, "rev-parse", "HEAD")
    text = '[submodule "x"]\n\tpath = parts/x\n\turl = ../other.git\n'
    (work / ".gitmodules").write_text(text, "utf-8")
    git(work, "update-index", "--add", "--cacheinfo", f"160000,{commit},parts/x")
    git(work, "add", ".gitmodules")
    git(work, "commit", "-q", "-m", "module")
    (module,) = read(work, tmp_path / "out").submodules
    assert (module.path, module.url, module.commit) == (
        "parts/x",
        "https://kiln.invalid/nodes/other",
        commit,
    )
    git(work, "rm", "-q", "--cached", ".gitmodules")
    git(work, "commit", "-q", "-m", "no map")
    with pytest.raises(DocumentError, match="parts/x is a submodule that"):
        read(work, tmp_path / "again")
