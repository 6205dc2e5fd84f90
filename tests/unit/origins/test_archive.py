from __future__ import annotations

import errno
import hashlib
import io
import resource
import tarfile
from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import KilnError
from comfykiln.origins.archive import TreeArchive, extract
from comfykiln.origins.filelist import PinnedFile, faults_of, list_tree
from comfykiln.plan.origins import Correction

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = {"main.py": b"print()\n", "req.txt": b"a==1\nb==2\n", "sub/x.json": b"{}"}
PINNED = {
    name: PinnedFile(path=name, sha256=hashlib.sha256(data).hexdigest(), mode=0o644)
    for name, data in CONTENT.items()
}


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info, data


GOOD = [member(f"pkg-1/vendor/UI/{name}", data) for name, data in CONTENT.items()]


def packed(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> TreeArchive:
    with tarfile.open(path, "w:gz") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return TreeArchive(path=path, title="pkg-1.tar.gz", folder="vendor/UI", strip=1)


def test_exactly_the_pinned_files_come_out(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("pkg-1/vendor/UI/sub")
    folder.type = tarfile.DIRTYPE
    others = [
        (folder, b""),
        member("pkg-1/vendor/UI/tests/t.py", b"unlisted"),
        member("pkg-1/setup.py", b"evil"),
        member("pkg-1/link", kind=tarfile.SYMTYPE, link="/etc"),
    ]
    archive = packed(tmp_path / "a.tgz", [*GOOD, *others])
    target = tmp_path / "out"
    target.mkdir()

    extract(archive, target, PINNED)

    assert faults_of(target, PINNED) == []
    assert list_tree(target) == "".join(f"{file.line}\n" for file in PINNED.values())


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (member("../../escape", b"x"), "'../../escape': leaves the archive's folder"),
        (member("/etc/escape", b"x"), "'/etc/escape': leaves the archive's folder"),
        (
            member("pkg-1/vendor/UI/../../x", b"x"),
            "'pkg-1/vendor/UI/../../x': leaves the archive's folder",
        ),
        (
            member("pkg-1/vendor/UI/models", kind=tarfile.SYMTYPE, link="/etc"),
            "pkg-1/vendor/UI/models: is a link or device",
        ),
        (
            member("pkg-1/vendor/UI/hard", kind=tarfile.LNKTYPE, link="pkg-1/x"),
            "pkg-1/vendor/UI/hard: is a link or device",
        ),
        (
            member("pkg-1/vendor/UI/dev", kind=tarfile.CHRTYPE),
            "pkg-1/vendor/UI/dev: is a link or device",
        ),
        (
            member("pkg-1/vendor/UI/pipe", kind=tarfile.FIFOTYPE),
            "pkg-1/vendor/UI/pipe: is a link or device",
        ),
        (member("pkg-1/vendor/UI/main.py", b"other"), "pkg-1/vendor/UI/main.py: comes twice"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_hostile_archive_is_refused_before_anything_is_written(
    tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes], fault: str, *, first: bool
) -> None:
    archive = packed(tmp_path / "a.tgz", [bad, *GOOD] if first else [*GOOD, bad])
    target = tmp_path / "box" / "out"
    target.mkdir(parents=True)

    with pytest.raises(KilnError) as caught:
        extract(archive, target, PINNED)

    assert caught.value.message == f"pkg-1.tar.gz is refused:\n  {fault}"
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a.tgz", tmp_path / "box", target]


def test_a_missing_file_is_told_before_anything_is_written(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tgz", GOOD[1:])
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(KilnError) as caught:
        extract(archive, target, PINNED)
    assert caught.value.message == "pkg-1.tar.gz is not the pinned tree:\n  main.py: missing"
    assert list(target.iterdir()) == []


def test_the_first_files_that_differ_are_named(tmp_path: Path) -> None:
    names = [f"f{number}" for number in range(7)]
    pinned = {name: PinnedFile(path=name, sha256="0" * 64, mode=0o644) for name in names}
    members = [member(f"pkg-1/vendor/UI/{name}", b"x") for name in names]
    with pytest.raises(KilnError) as caught:
        extract(packed(tmp_path / "a.tgz", members), tmp_path, pinned)
    lines = "".join(f"\n  f{number}: other bytes than pinned" for number in range(5))
    assert caught.value.message == f"pkg-1.tar.gz is not the pinned tree:{lines}\n  … and 2 more"


def test_a_damaged_archive_says_so(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tgz", GOOD)
    data = archive.path.read_bytes()
    for damaged in (data[: len(data) // 2], b"no archive at all", b""):
        archive.path.write_bytes(damaged)
        with pytest.raises(KilnError) as caught:
            extract(archive, tmp_path, PINNED)
        assert caught.value.message.startswith("pkg-1.tar.gz is a damaged archive: ")


def test_a_disk_without_room_is_not_the_archives_fault(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tgz", GOOD)
    target = tmp_path / "out"
    target.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
    try:
        with pytest.raises(OSError, match=f"Errno {errno.EFBIG}"):
            extract(archive, target, PINNED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def corrected(tmp_path: Path, old: str, new: str) -> None:
    archive = packed(tmp_path / "a.tgz", [member("pkg-1/vendor/UI/req.txt", b"a==1\nb==3\n")])
    change = Correction(path="req.txt", old=old, new=new)
    target = tmp_path / "out"
    target.mkdir()
    given = TreeArchive(
        path=archive.path, title=archive.title, folder="vendor/UI", strip=1, corrections=(change,)
    )
    extract(given, target, {"req.txt": PINNED["req.txt"]})


def test_a_correction_makes_the_line_the_releases_own(tmp_path: Path) -> None:
    corrected(tmp_path, "b==3", "b==2")
    assert (tmp_path / "out" / "req.txt").read_bytes() == CONTENT["req.txt"]


def test_a_correction_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KilnError) as caught:
        corrected(tmp_path, "b==4", "b==2")
    assert caught.value.message == "pkg-1.tar.gz: req.txt has 'b==4' 0 times"


def test_a_correction_cannot_make_other_bytes_than_pinned(tmp_path: Path) -> None:
    with pytest.raises(KilnError, match=r"req\.txt: other bytes than pinned"):
        corrected(tmp_path, "b==3", "b==evil")
