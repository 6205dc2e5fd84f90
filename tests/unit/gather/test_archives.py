"""Archives of nodes: read safely; fetched by sha256 from registry, address or folder."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.noderegistry import archive, published, registry
from tests.support.sites import Answer, closed
from tests.support.ways import access

from comfykiln.errors import DocumentError, DriftError, KilnError, NotPossibleError
from comfykiln.gather.archives import GatheredArchive, members_of, obtain_archives
from comfykiln.gather.node_lock import (
    LockedArchive,
    LockedSource,
    NodeLock,
    read_node_lock,
    write_node_lock,
)
from comfykiln.gather.pins import ArchivePin
from comfykiln.parsing.zips import read_zip
from comfykiln.plan.services import NodeRule
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from pathlib import Path

GOOD = published("shop", "1.0", {"__init__.py": "", "requirements.txt": "wheel\n"})
PIN = ArchivePin(directory="shop", registry_id="shop", version="1.0")


def obtained(url: str, store: Path, pin: ArchivePin = PIN, **how: Any) -> GatheredArchive:
    held = {name: how.pop(name) for name in ("locked", "known") if name in how}
    way = access(Store(root=store), registry=url, **how)
    found = obtain_archives([pin], lambda _: NodeRule(), way, **{"locked": None, **held})
    return found[0]


def member(name: str, *, mode: int = 0, flags: int = 0) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        made.writestr(info, "x")
    data = bytearray(packed.getvalue())
    data[data.index(b"PK\x01\x02") + 8] |= flags
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (member("../a"), "'../a': climbs out with '..'"),
        (member("/a"), "'/a': is absolute"),
        (member("a\\b"), "has a backslash"),
        (member("a", mode=stat.S_IFLNK | 0o777), "a: is a link or device"),
        (member("a", mode=stat.S_IFIFO), "a: is a link or device"),
        (member("a", flags=1), "a: is encrypted"),
        (archive({"a": "", "A": ""}), "A: comes twice"),
        (archive({"a": "", "a/b": ""}), "a/b: is a file and a folder"),
        (archive({}), "it is empty"),
        (archive({"a": "text"})[:-30], "is no sound zip archive"),
        (b"", "is no sound zip archive"),
    ],
)
def test_zip_archives_that_are_refused(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(DocumentError) as error:
        read_zip(path, "the archive")
    assert said in str(error.value)


def test_damage_inside_a_member_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(member("a").replace(b"ax", b"ay", 1))
    with pytest.raises(DocumentError, match="Bad CRC-32"):
        read_zip(path, "the archive")


def test_the_registry_is_asked_and_the_lock_is_enough_afterwards(tmp_path: Path) -> None:
    data = archive(GOOD)
    sha256 = hashlib.sha256(data).hexdigest()
    with registry() as shop:
        shop.add("shop", "1.0", data)
        found = obtained(shop.site.url, tmp_path / "a")
        assert found.requirements == "wheel\n"
        url = f"{shop.site.url}/archives/shop-1.0.zip"
        assert found.locked == LockedArchive(
            title="shop 1.0", sha256=sha256, size=len(data), url=url
        )
        shop.site.asked.clear()
        again = obtained(shop.site.url, tmp_path / "b", locked={"shop": found.locked})
        assert again.sha256 == sha256
        assert shop.site.paths == ["/archives/shop-1.0.zip"]


def test_locking_again_keeps_the_bytes_of_the_same_version(tmp_path: Path) -> None:
    data = archive(GOOD)
    known = {
        "shop": LockedArchive(
            title="shop 1.0", sha256=hashlib.sha256(data).hexdigest(), size=len(data), url=""
        )
    }
    with registry() as shop:
        shop.add("shop", "1.0", archive({**GOOD, "more.py": ""}))
        with pytest.raises(KilnError, match="expected the sha256"):
            obtained(shop.site.url, tmp_path, known=known)
        other = {"shop": replace(known["shop"], title="shop 0.9")}
        assert obtained(shop.site.url, tmp_path, known=other).sha256 != known["shop"].sha256


def test_other_bytes_than_the_lock_holds_are_refused_and_not_kept(tmp_path: Path) -> None:
    held = LockedArchive(title="shop 1.0", sha256="0" * 64, size=1, url="")
    with registry() as shop:
        shop.add("shop", "1.0", archive(GOOD))
        with pytest.raises(KilnError, match=f"shop 1.0: expected the sha256 {'0' * 64}"):
            obtained(shop.site.url, tmp_path, locked={"shop": held})
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and "locks" not in str(path)
    ] == []


def test_a_lock_that_holds_another_version_or_none_is_drift(tmp_path: Path) -> None:
    held = LockedArchive(title="shop 0.9", sha256="0" * 64, size=1, url="")
    with pytest.raises(DriftError, match=r"pins shop 1.0, the lock holds shop 0.9"):
        obtained(closed(), tmp_path, locked={"shop": held})
    with pytest.raises(DriftError, match=r"pins shop 1.0, the lock does not hold it"):
        obtained(closed(), tmp_path, locked={})


def test_no_registry_in_reach_names_the_node_and_the_ways_on(tmp_path: Path) -> None:
    with pytest.raises(NotPossibleError) as error:
        obtained(closed(), tmp_path)
    assert "1 of 1 node archive(s) cannot be fetched:\n  shop: " in str(error.value)
    assert "laid out 127.0.0.1/ID/VERSION.zip" in str(error.value)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"{}", "gives no archive for shop 1.0"),
        (b'{"version": "1.1", "downloadUrl": "https://x/a"}', "gives version 1.1 for shop 1.0"),
        (b'{"version": "1.0", "downloadUrl": "http://x.invalid/a"}', "is not reached over https"),
        (b'{"version": "1.0", "downloadUrl": "https://[x]/a"}', "no address: its host or port"),
        (b'{"version": "1.0", "downloadUrl": "file:///etc/passwd"}', "is not reached over https"),
    ],
)
def test_answers_of_a_registry_that_are_refused(tmp_path: Path, said: bytes, reason: str) -> None:
    with registry() as shop:
        shop.site.answers["/nodes/shop/install?version=1.0"] = Answer(body=said)
        with pytest.raises(NotPossibleError, match=reason):
            obtained(shop.site.url, tmp_path)


def test_an_archive_of_an_address_may_be_a_tar_with_the_folder_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as made:
        for name in ("repo-abc/__init__.py", "repo-abc/web/a.js"):
            made.addfile(tarfile.TarInfo(name))
    pin = ArchivePin(directory="repo", urls=("https://x.invalid/a.tar.gz",))
    assert list(members_of(pin, path)) == ["__init__.py", "web/a.js"]


def test_the_second_address_serves_where_the_first_is_gone(tmp_path: Path) -> None:
    data = archive({"__init__.py": ""})
    with registry() as shop:
        shop.add("other", "1", data)
        gone, there = f"{shop.site.url}/gone.zip", f"{shop.site.url}/archives/other-1.zip"
        pin = ArchivePin(directory="a", urls=(gone, there), sha256=hashlib.sha256(data).hexdigest())
        assert obtained(shop.site.url, tmp_path, pin).url == there


def test_the_nodes_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    lock = NodeLock(
        archives={"a": LockedArchive(title="a 1", sha256="0" * 64, size=1, url="")},
        files={"b.py": "1" * 64},
        sources=(LockedSource(name="c", url="https://x.invalid/c", ref="", commit="2" * 40),),
    )
    write_node_lock(path, lock)
    assert read_node_lock(path) == lock
    write_node_lock(path, NodeLock())
    assert not path.exists()
    assert read_node_lock(path).empty
    path.write_text('{"archives": {"a": {}}}', "utf-8")
    with pytest.raises(DocumentError) as error:
        read_node_lock(path)
    assert any("'sources' is a required property" in fault for fault in error.value.faults)
