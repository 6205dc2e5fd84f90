from __future__ import annotations

import gzip
import hashlib
import io
import resource
import tarfile
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfykiln.errors import DocumentError
from comfykiln.parsing.tarballs import Limits, read_members, unpack, write_members

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EPOCH = 1_700_000_000

Entry = tuple[str, bytes, dict[str, object]]


def _packed(path: Path, *entries: Entry, form: int = tarfile.PAX_FORMAT) -> Path:
    """Write a tarball with any fields, good or bad."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=form) as archive:
        for name, data, fields in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(plain.getvalue()))
    return path


def _file(name: str, data: bytes = b"x", **fields: object) -> Entry:
    return name, data, fields


def _refused(path: Path, limits: Limits | None = None) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        read_members(path, limits or Limits())
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    first, *_ = str(caught.value).replace(f"{path}: ", "").split("\n")
    return [first, *caught.value.faults]


def test_bytes_do_not_depend_on_order_or_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = write_members({"b": b"2", "a/c": b"1"}, EPOCH, executable={"b"})
    monkeypatch.setattr(time, "time", lambda: 4e9)
    second = write_members({"a/c": b"1", "b": b"2"}, EPOCH, executable=["b"])
    assert first == second
    assert hashlib.sha256(gzip.decompress(first)).hexdigest() == (
        "66d972b88f83b18556b161f9dd6a5f6bfa2367fff175362e5eff329433a18849"
    )
    assert first[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"  # no name, no time, level 9


def test_written_headers() -> None:
    data = write_members({"run.sh": b"#!", "ä/x.json": b"{}"}, EPOCH, executable={"run.sh"})
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        rows = [
            (m.name, m.mode, m.uid, m.gid, m.uname, m.gname, m.mtime, m.size, m.type)
            for m in archive
        ]
    assert rows == [
        ("run.sh", 0o755, 0, 0, "", "", EPOCH, 2, b"0"),
        ("ä/x.json", 0o644, 0, 0, "", "", EPOCH, 2, b"0"),
    ]


NAMES = st.lists(
    st.text(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"),
        min_size=1,
        max_size=60,
    ).filter(lambda part: part not in {".", ".."}),
    min_size=1,
    max_size=4,
).map("/".join)


@given(members=st.dictionaries(NAMES, st.binary(max_size=600), max_size=5))
def test_what_is_written_is_read_or_refused_when_written(
    members: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.tar.gz"
    try:
        data = write_members(members, EPOCH)
    except DocumentError as error:
        assert all("but for case" in f or "a folder" in f for f in error.faults)  # noqa: PT017  # which of the two happens depends on the names
        return
    path.write_bytes(data)
    assert read_members(path) == members
    assert write_members(read_members(path), EPOCH) == data


def test_folders_and_a_leading_dot_are_fine(tmp_path: Path) -> None:
    path = _packed(
        tmp_path / "x.tar.gz",
        (".", b"", {"type": tarfile.DIRTYPE}),
        ("./a", b"", {"type": tarfile.DIRTYPE, "mode": 0o2775}),
        _file("./a/b", b"1"),
        _file("c", b"2"),
        form=tarfile.GNU_FORMAT,
    )
    assert read_members(path) == {"a/b": b"1", "c": b"2"}


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (_file("../up"), "'../up': the name climbs out with '..'"),
        (_file("a/../../up"), "'a/../../up': the name climbs out with '..'"),
        (_file("/etc/passwd"), "'/etc/passwd': the name is absolute"),
        (_file("a//b"), "'a//b': the name has an empty or '.' part"),
        (_file("a/./b"), "'a/./b': the name has an empty or '.' part"),
        (_file("a\\b"), "'a\\\\b': the name has a backslash"),
        (_file("a\nb"), "'a\\nb': the name has a control character"),
        (_file("x" * 1025), f"{'x' * 1025!r}: the name is longer than 1024 bytes"),
        (_file("/".join("x" * 33)), f"{'/'.join('x' * 33)!r}: the name is deeper than 32 folders"),
        (
            _file("l", b"", type=tarfile.SYMTYPE, linkname="/etc/hostname"),
            "'l': is a symbolic link to '/etc/hostname'",
        ),
        (_file("h", b"", type=tarfile.LNKTYPE, linkname="a"), "'h': is a hard link to 'a'"),
        (_file("d", b"", type=tarfile.CHRTYPE), "'d': is a character device"),
        (_file("d", b"", type=tarfile.BLKTYPE), "'d': is a block device"),
        (_file("p", b"", type=tarfile.FIFOTYPE), "'p': is a named pipe"),
        (_file("u", b"", type=b"Z"), "'u': is of the unknown type b'Z'"),
        (_file("s", mode=0o4755), "'s': has the special mode 4755"),
        (_file("s", pax_headers={"GNU.sparse.map": "0,1"}), "'s': is a sparse file"),
        (_file("ok.txt"), "'ok.txt': occurs twice"),
        (_file("./ok.txt"), "'ok.txt': occurs twice"),
        (_file("OK.txt"), "'OK.txt': the same as 'ok.txt' but for case or Unicode form"),
        (_file("ok.txt/below"), "'ok.txt': is both a file and a folder"),
        (_file("Folder/b"), "'Folder': the same as 'folder' but for case or Unicode form"),
        (_file("folder"), "'folder': is both a file and a folder"),
    ],
)
def test_hostile_members_are_named(tmp_path: Path, entry: Entry, fault: str) -> None:
    path = _packed(tmp_path / "x.tar.gz", _file("ok.txt"), _file("folder/a"), entry)
    assert _refused(path) == ["refused, not a safe tarball", fault]
    assert [p.name for p in tmp_path.iterdir()] == ["x.tar.gz"]


def test_unicode_forms_of_one_name_fall_together(tmp_path: Path) -> None:
    path = _packed(tmp_path / "x.tar.gz", _file("\u00e4"), _file("a\u0308"))
    assert _refused(path)[1:] == [r"'a\u0308': the same as '\xe4' but for case or Unicode form"]


def test_a_name_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    path = _packed(tmp_path / "x.tar.gz", _file("ab"), form=tarfile.USTAR_FORMAT)
    plain = bytearray(gzip.decompress(path.read_bytes()))
    plain[0] = 0xFF
    plain[148:156] = b"%06o\0 " % (sum(plain[:148]) + 8 * 32 + sum(plain[156:512]))
    path.write_bytes(gzip.compress(bytes(plain)))
    assert _refused(path)[1:] == ["'\\udcffb': the name is no valid UTF-8"]


def test_every_fault_is_listed_up_to_twenty(tmp_path: Path) -> None:
    path = _packed(tmp_path / "x.tar.gz", *(_file(f"../{i:02}") for i in range(30)))
    faults = _refused(path)[1:]
    assert len(faults) == 21
    assert faults[19:] == ["'../19': the name climbs out with '..'", "… and 10 more"]


def _cut(data: bytes) -> bytes:
    return data[:-20]


def _cut_tar(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data)[:700])


def _no_end_mark(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data)[:1024])


def _garbage_after_first(data: bytes) -> bytes:
    plain = gzip.decompress(data)
    return gzip.compress(plain[:1024] + b"garbage!" * 64 + plain[1024:])


def _garbage_after_end(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data) + b"more")


def _garbage_after_gzip(data: bytes) -> bytes:
    return data + b"more"


def _flipped(data: bytes) -> bytes:
    return data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]


def _no_gzip(data: bytes) -> bytes:
    return gzip.decompress(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "not a whole .tar.gz file: Compressed file ended before the end-of-stream"),
        (_cut_tar, "not a whole .tar.gz file: unexpected end of data"),
        (_no_end_mark, "refused, not a safe tarball"),
        (_garbage_after_first, "refused, not a safe tarball"),
        (_garbage_after_end, "refused, not a safe tarball"),
        (_garbage_after_gzip, "not a whole .tar.gz file: Not a gzipped file"),
        (_flipped, "not a whole .tar.gz file: CRC check failed"),
        (_no_gzip, "not a whole .tar.gz file: Not a gzipped file"),
    ],
)
def test_damage_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = _packed(tmp_path / "x.tar.gz", _file("a"), _file("b"))
    path.write_bytes(damage(path.read_bytes()))
    assert _refused(path)[0].startswith(message)


def test_an_absent_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert _refused(tmp_path / "no.tar.gz") == ["no such file"]
    assert _refused(tmp_path) == ["no such file"]


SMALL = Limits(compressed=5_000, member=3_000, total=20_000, members=5)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([_file("a", b"x" * 3001)], "refused, 'a' has 3001 bytes (limit 3000)"),
        ([_file(str(i)) for i in range(6)], "refused, it has more than 5 members (limit 5)"),
        (
            [_file(str(i), b"x" * 3000) for i in range(7)],
            "refused, it has more than 5 members (limit 5)",
        ),
    ],
)
def test_limits(tmp_path: Path, entries: list[Entry], message: str) -> None:
    assert _refused(_packed(tmp_path / "x.tar.gz", *entries), SMALL) == [message]


def test_the_unpacked_total_is_limited(tmp_path: Path) -> None:
    path = _packed(tmp_path / "x.tar.gz", *(_file(str(i), b"x" * 900) for i in range(4)))
    limits = Limits(total=4_000)
    assert _refused(path, limits) == ["refused, it unpacks to over 4607 bytes (limit 4000)"]


def test_the_file_size_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(b"\0" * 5_001)
    assert _refused(path, SMALL) == ["refused, the file has 5001 bytes (limit 5000)"]


def _bomb(header: tarfile.TarInfo) -> bytes:
    """A gzip file of one tar header and 1 GiB of zeros."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            file.write(bytes(1 << 20))
    return packed.getvalue() + gzip.compress(bytes(1 << 20)) * 960


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_bombs_cost_little(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("big")
    header.type = kind
    header.size = 1 << 30
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(_bomb(header))
    before = resource.getrusage(resource.RUSAGE_SELF)
    assert "1073741824 bytes" in _refused(path)[0]
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 1
    assert after.ru_maxrss - before.ru_maxrss < 64 * 1024


def test_a_long_chain_of_headers_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type = tarfile.XHDTYPE
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) * 5_000))
    assert _refused(path)[0].startswith("not a whole .tar.gz file: maximum recursion depth")


def test_a_negative_size_is_refused(tmp_path: Path) -> None:
    path = _packed(tmp_path / "x.tar.gz", _file("a", b"", pax_headers={"size": "-1024"}))
    assert _refused(path) == ["not a whole .tar.gz file: 'a' claims -1024 bytes"]


def test_what_can_be_executed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(write_members({"run.sh": b"1", "plain": b"2"}, 0, executable=["run.sh"]))
    found = unpack(path)
    assert found.members == {"plain": b"2", "run.sh": b"1"}
    assert found.executable == {"run.sh"}
