"""From an object to a file: resumed, verified, atomic, one at a time, with room on the disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from typing import TYPE_CHECKING

import pytest

from comfykiln.transfer import partfile
from comfykiln.transfer.download import Downloaded, download
from comfykiln.transfer.errors import Cancelled, ChangedError, DamagedError, SpaceError
from comfykiln.transfer.parts import Settings
from comfykiln.transfer.ranged import Watch

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.faultserver import FaultServer, Object

KIB = 1024
SMALL = Settings(part_size=64 * KIB, workers=4, attempts=3)
Usage = namedtuple("Usage", "total used free")  # noqa: PYI024  # what shutil.disk_usage returns


@pytest.fixture
def data() -> bytes:
    return os.urandom(2000 * KIB + 5)  # 32 parts


@pytest.fixture
def served(faults: FaultServer, data: bytes) -> Object:
    return faults.add("/m", data)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.usefixtures("served")
def test_a_download_is_whole_recorded_and_leaves_nothing_else(
    faults: FaultServer, data: bytes, tmp_path: Path
) -> None:
    target = tmp_path / "models" / "a" / "m.safetensors"
    noted: list[tuple[Downloaded, bool]] = []
    done = download(
        faults.remote("/m"),
        target,
        before=lambda d: noted.append((d, target.exists())),
        settings=SMALL,
    )
    assert done == Downloaded(
        path=target,
        size=len(data),
        sha256=sha256(data),
        kept=0,
        mtime_ns=target.stat().st_mtime_ns,
    )
    assert target.read_bytes() == data
    assert noted == [(done, False)]
    assert left(target.parent) == ["m.safetensors"]
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()


@pytest.mark.usefixtures("served")
def test_an_expected_sha256_is_held_against_the_content(
    faults: FaultServer, data: bytes, tmp_path: Path
) -> None:
    target = tmp_path / "m"
    target.write_bytes(b"old")
    wrong = sha256(b"other")
    with pytest.raises(DamagedError) as caught:
        download(faults.remote("/m"), target, sha256=wrong, settings=SMALL)
    assert caught.value.message == f"s3://bucket/m has the sha256 {sha256(data)}, not {wrong}."
    assert target.read_bytes() == b"old"
    assert left(tmp_path) == ["m"]
    assert download(faults.remote("/m"), target, sha256=sha256(data).upper(), settings=SMALL)


def test_one_flipped_byte_is_refused(
    faults: FaultServer, served: Object, data: bytes, tmp_path: Path
) -> None:
    served.faults = ["", "", "flip"]
    with pytest.raises(DamagedError):
        download(faults.remote("/m"), tmp_path / "m", sha256=sha256(data), settings=SMALL)
    assert left(tmp_path) == []


def test_a_cancelled_download_goes_on_where_it_was(
    faults: FaultServer, served: Object, data: bytes, tmp_path: Path
) -> None:
    target = tmp_path / "m"
    with pytest.raises(Cancelled):
        download(
            faults.remote("/m"),
            target,
            settings=SMALL,
            watch=Watch(cancelled=lambda: len(served.requests) > 20),
        )
    assert left(tmp_path) == [".m.part", ".m.part.json"]
    served.requests.clear()
    done = download(faults.remote("/m"), target, settings=SMALL)
    assert done is not None
    assert done.kept >= 12 * 64 * KIB
    assert len(served.requests) == 32 - done.kept // (64 * KIB)
    assert done.sha256 == sha256(data)
    assert left(tmp_path) == ["m"]


@pytest.mark.parametrize("what", ["etag", "journal", "torn", "size", "boot"])
def test_what_cannot_be_trusted_is_fetched_again(
    faults: FaultServer, served: Object, data: bytes, tmp_path: Path, what: str
) -> None:
    target = tmp_path / "m"
    journal = tmp_path / ".m.part.json"
    stop = Watch(cancelled=lambda: len(served.requests) > 20)
    with pytest.raises(Cancelled):
        download(faults.remote("/m"), target, settings=SMALL, watch=stop)
    if what == "etag":
        data = os.urandom(len(data))
        served.replace(data)
    elif what == "journal":
        journal.write_text("nonsense\n")
    elif what == "torn":
        with journal.open("a") as file:
            file.write("2")  # a line without its end says nothing
    elif what == "size":
        os.truncate(tmp_path / ".m.part", 1000)
    else:
        header, *rest = journal.read_text().split("\n")
        other = json.loads(header) | {"boot": "another"}
        journal.write_text("\n".join([json.dumps(other), *rest]))
    served.requests.clear()
    done = download(faults.remote("/m"), target, settings=SMALL)
    assert done is not None
    assert (done.kept == 0) == (what != "torn")
    assert target.read_bytes() == data


def test_an_object_that_changes_midway_leaves_the_old_file(
    faults: FaultServer, served: Object, tmp_path: Path
) -> None:
    target = tmp_path / "m"
    target.write_bytes(b"old")
    remote = faults.remote("/m")
    served.on_request = lambda o: o.replace(b"new") if len(o.requests) == 5 else None
    with pytest.raises(ChangedError):
        download(remote, target, settings=SMALL)
    assert target.read_bytes() == b"old"


def test_w10_two_who_want_the_same_file_download_it_once(
    faults: FaultServer, served: Object, data: bytes, tmp_path: Path
) -> None:
    served.rate = 2_000_000.0
    target = tmp_path / "m"
    results: list[Downloaded | None] = []

    def want() -> None:
        results.append(download(faults.remote("/m"), target, already=target.exists, settings=SMALL))

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([done for done in results if done is not None]) == 1
    assert results.count(None) == 3
    assert len(served.requests) == 32
    assert target.read_bytes() == data
    assert left(tmp_path) == ["m"]


@pytest.mark.usefixtures("served")
def test_waiting_for_another_download_can_be_cancelled(faults: FaultServer, tmp_path: Path) -> None:
    target = tmp_path / "m"
    begun = time.monotonic()
    with (
        partfile.PartFile(target, cancelled=lambda: False),
        pytest.raises(Cancelled, match="another download of this file"),
    ):
        download(
            faults.remote("/m"),
            target,
            watch=Watch(cancelled=lambda: time.monotonic() - begun > 0.3),
        )


def test_w10_a_full_disk_is_said_before_anything_is_written(
    faults: FaultServer, served: Object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**9, 0, 64 << 20))
    with pytest.raises(SpaceError) as caught:
        download(faults.remote("/m"), tmp_path / "m", settings=SMALL)
    assert caught.value.message == (
        f"{tmp_path / 'm'} needs 2 MiB more; {tmp_path} has 64 MiB free, of which 64 stay."
    )
    assert served.requests == []


@pytest.mark.usefixtures("served")
def test_a_disk_that_fills_midway_is_named_and_what_arrived_is_kept(
    faults: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = os.pwrite, []

    def full(fd: int, data: bytes, place: int) -> int:
        calls.append(place)
        if len(calls) > 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data, place)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(SpaceError, match="the disk or the quota is full"):
            download(faults.remote("/m"), tmp_path / "m", settings=SMALL)
    done = download(faults.remote("/m"), tmp_path / "m", settings=SMALL)
    assert done is not None
    assert done.kept >= 9 * 64 * KIB


def test_a_disk_that_fails_while_it_is_written_to_is_named(
    faults: FaultServer, served: Object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells such a fault once, to whoever asks first."""
    served.rate = 1_000_000.0

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(SpaceError, match="Input/output error"):
        download(faults.remote("/m"), tmp_path / "m", settings=SMALL)
    assert not (tmp_path / "m").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.usefixtures("served")
def test_a_read_only_folder_is_named(faults: FaultServer, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(SpaceError, match="Permission denied"):
        download(faults.remote("/m"), folder / "m", settings=SMALL)


@pytest.mark.usefixtures("served")
def test_a_folder_in_the_way_is_named(faults: FaultServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SpaceError, match=r"cannot be written: (Not a directory|File exists)"):
        download(faults.remote("/m"), tmp_path / "file" / "m", settings=SMALL)


def test_an_empty_object_and_a_long_name(faults: FaultServer, tmp_path: Path) -> None:
    faults.add("/e", b"")
    target = tmp_path / ("n" * 250)
    done = download(faults.remote("/e"), target)
    assert done is not None
    assert done.sha256 == sha256(b"")
    assert left(tmp_path) == [target.name]


WORKER = """
import sys
from pathlib import Path
from comfykiln.transfer.connections import Request
from comfykiln.transfer.download import download
from comfykiln.transfer.parts import Remote, Settings

url, size, etag, target = sys.argv[1:]
remote = Remote(label="m", size=int(size), etag=etag, request=lambda: Request(url=url))
print("ready", flush=True)
download(remote, Path(target), settings=Settings(part_size=65536, workers=4))
"""


def test_w10_killed_at_any_moment_it_converges_and_keeps_what_it_has(
    faults: FaultServer, served: Object, data: bytes, tmp_path: Path
) -> None:
    served.rate = 800_000.0
    target = tmp_path / "m"
    remote = faults.remote("/m")
    argv = [sys.executable, "-c", WORKER, faults.url + "/m", str(len(data)), remote.etag]
    chance = random.Random(5)  # noqa: S311  # moments, no secrets
    kills = 0
    for _ in range(30):
        child = subprocess.Popen([*argv, str(target)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(chance.uniform(0.01, 0.12))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        kills += 1
        if target.exists():
            break
    assert not target.exists() or target.read_bytes() == data
    done = download(remote, target, already=target.exists, settings=SMALL)
    assert target.read_bytes() == data
    assert left(tmp_path) == ["m"]
    assert done is None or done.sha256 == sha256(data)
    # Each kill loses at most the parts that four workers had under way.
    assert served.sent <= len(data) + kills * 4 * 64 * KIB


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
