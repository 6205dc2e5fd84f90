"""The engine against servers that misbehave: right bytes or a clear error, never anything else."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest

from comfykiln.transfer.connections import Request
from comfykiln.transfer.errors import (
    AccessError,
    Cancelled,
    ChangedError,
    MissingError,
    UnreachableError,
)
from comfykiln.transfer.parts import Remote, Settings
from comfykiln.transfer.ranged import Watch, fetch
from comfykiln.transfer.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.faultserver import FaultServer

    from comfykiln.transfer.parts import Hasher

KIB = 1024
SMALL = Settings(part_size=64 * KIB, workers=4, attempts=3, progress_seconds=0.0)


@pytest.fixture
def data() -> bytes:
    return os.urandom(1000 * KIB + 17)  # 16 parts, the last one short


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a hundredth of the time between attempts."""
    from comfykiln.transfer import ranged, reader  # patched where it is used

    monkeypatch.setattr(ranged, "pause", lambda a, w: reader.pause(a, w) / 100)


@pytest.fixture(autouse=True, params=["kernel", "buffer"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run every test where the kernel moves the bytes, and as on a system that cannot."""
    if request.param == "buffer":
        monkeypatch.delattr(os, "splice", raising=False)
    return str(request.param)


def brought(
    path: Path,
    remote: Remote,
    settings: Settings = SMALL,
    watch: Watch | None = None,
    done: frozenset[int] = frozenset(),
) -> tuple[bytes, str]:
    """Fetch into `path` and return its content with the sha256 that was made on the way."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        made = fetch(
            remote, Sink(fd=fd, done=done), hasher=hashlib.sha256, settings=settings, watch=watch
        )
    finally:
        os.close(fd)
    assert made is not None
    digest: str = made.hexdigest()  # type: ignore[attr-defined]  # sha256 was given
    return path.read_bytes(), digest


def is_right(got: tuple[bytes, str], data: bytes) -> bool:
    return got == (data, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("size", [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 640 * KIB])
def test_every_size_arrives_whole(faults: FaultServer, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    faults.add("/m", data)
    assert is_right(brought(tmp_path / "m", faults.remote("/m")), data)


def test_the_kernel_moves_what_can_pass_this_program_by(
    faults: FaultServer,
    tmp_path: Path,
    data: bytes,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved: list[int] = []
    monkeypatch.setattr(Sink, "splice", _noting(Sink.splice, moved))
    faults.add("/m", data)
    assert is_right(brought(tmp_path / "m", faults.remote("/m")), data)
    # The first bytes of each answer come along with its headers.
    assert 0.7 * len(data) < sum(moved) < len(data) if way == "kernel" else moved == []


def _noting(splice: Callable[..., int], moved: list[int]) -> Callable[..., int]:
    def noted(sink: Sink, pipe: int, offset: int, count: int) -> int:
        moved.append(splice(sink, pipe, offset, count))
        return moved[-1]

    return noted


@pytest.mark.parametrize("side", ["socket", "file"])
def test_a_system_that_cannot_move_bytes_alone_does_it_by_hand(
    faults: FaultServer,
    tmp_path: Path,
    data: bytes,
    way: str,
    side: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sandbox or a file system can refuse what the system as such knows."""
    if way == "buffer":
        return
    splice = os.splice

    def refused(source: int, target: int, count: int, **where: int) -> int:
        if (side == "file") == ("offset_dst" in where):
            raise OSError(errno.EINVAL, "Invalid argument")
        return splice(source, target, count, **where)

    monkeypatch.setattr(os, "splice", refused)
    faults.add("/m", data)
    assert is_right(brought(tmp_path / "m", faults.remote("/m")), data)


def test_what_cannot_be_read_back_is_hashed_on_its_way(faults: FaultServer, data: bytes) -> None:
    faults.add("/m", data)
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        made = fetch(
            faults.remote("/m"),
            Sink(fd=nowhere, keeps=False),
            hasher=hashlib.sha256,
            settings=SMALL,
        )
    finally:
        os.close(nowhere)
    assert made is not None
    assert made.hexdigest() == hashlib.sha256(data).hexdigest()  # type: ignore[attr-defined]  # sha256 was given


def test_w08_parts_are_asked_for_once_each_with_one_etag(
    faults: FaultServer, tmp_path: Path, data: bytes
) -> None:
    served = faults.add("/m", data)
    brought(tmp_path / "m", faults.remote("/m"))
    step = 64 * KIB
    expected = [f"bytes={s}-{min(s + step, len(data)) - 1}" for s in range(0, len(data), step)]
    assert sorted(served.requests, key=lambda r: int(re.findall(r"\d+", r)[0])) == expected
    assert {headers["If-Match"] for headers in served.headers} == {served.etag}


@pytest.mark.parametrize(
    "fault",
    ["short", "wrong-range", "long", "status 503", "status 500", "status 429 Retry-After=0"],
)
def test_a_passing_fault_is_overcome(
    faults: FaultServer, tmp_path: Path, data: bytes, fault: str
) -> None:
    faults.add("/m", data, faults=[fault, fault])
    assert is_right(brought(tmp_path / "m", faults.remote("/m")), data)


def test_a_silent_server_is_asked_again(faults: FaultServer, tmp_path: Path, data: bytes) -> None:
    faults.add("/m", data, faults=["silent"])
    settings = Settings(part_size=64 * KIB, workers=4, attempts=3, read_seconds=0.3)
    assert is_right(brought(tmp_path / "m", faults.remote("/m"), settings), data)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("short", "the answer ended after 32768 of 65536 bytes"),
        ("status 503", "status 503"),
        ("wrong-range", "the server sent another range"),
        ("long", "the server announced 65546 bytes instead of 65536"),
    ],
)
def test_a_lasting_fault_is_named(
    faults: FaultServer, tmp_path: Path, data: bytes, fault: str, told: str
) -> None:
    faults.add("/m", data, always=fault)
    with pytest.raises(UnreachableError) as caught:
        brought(tmp_path / "m", faults.remote("/m"))
    assert str(caught.value) == (
        f"s3://bucket/m cannot be read: {told} (3 attempts).\n"
        "  → check the network and run it again; what has arrived is kept"
    )


def test_a_server_that_answers_200_with_the_exact_range_is_believed(
    faults: FaultServer, tmp_path: Path, data: bytes
) -> None:
    faults.add("/m", data, always="as-200")
    assert is_right(brought(tmp_path / "m", faults.remote("/m")), data)


def test_a_server_that_ignores_ranges_is_read_in_one_stream(
    faults: FaultServer, tmp_path: Path, data: bytes
) -> None:
    served = faults.add("/m", data, always="ignore-range")
    assert is_right(brought(tmp_path / "m", faults.remote("/m")), data)
    assert served.requests.count("") == 1  # an earlier one for a range may be noted after it


def test_ranges_ignored_from_the_middle_on_begin_anew(
    faults: FaultServer, tmp_path: Path, data: bytes
) -> None:
    served = faults.add("/m", data)

    def after_six(_: object) -> None:
        if len(served.requests) >= 6:
            served.always = "ignore-range"

    served.on_request = after_six
    assert is_right(brought(tmp_path / "m", faults.remote("/m")), data)


@pytest.mark.parametrize("fault", ["", "ignore-if-match"])
def test_w08_an_object_that_changes_midway_is_refused(
    faults: FaultServer, tmp_path: Path, data: bytes, fault: str
) -> None:
    served = faults.add("/m", data, always=fault)
    remote = faults.remote("/m")

    def after_four(_: object) -> None:
        if len(served.requests) == 4:
            served.replace(os.urandom(len(data)))

    served.on_request = after_four
    with pytest.raises(ChangedError):
        brought(tmp_path / "m", remote)


def test_one_part_with_another_etag_is_refused(
    faults: FaultServer, tmp_path: Path, data: bytes
) -> None:
    faults.add("/m", data, faults=["", "", "wrong-etag"])
    with pytest.raises(ChangedError):
        brought(tmp_path / "m", faults.remote("/m"))


def test_denied_and_missing_are_final(faults: FaultServer, tmp_path: Path, data: bytes) -> None:
    denied = faults.add("/m", data, always="status 403")
    with pytest.raises(AccessError, match="Access denied to s3://bucket/m"):
        brought(tmp_path / "m", faults.remote("/m"))
    assert len(denied.requests) <= 4  # one a worker, no second attempt
    remote = faults.remote("/m", request=lambda: Request(url=faults.url + "/gone"))
    with pytest.raises(MissingError, match="Object not found: s3://bucket/m"):
        brought(tmp_path / "m", remote)


def test_a_closed_port_is_named_without_the_url(tmp_path: Path) -> None:
    remote = Remote(
        label="s3://bucket/m",
        size=10,
        etag="",
        request=lambda: Request(url="http://127.0.0.1:1/m?X-Amz-Signature=canary"),
    )
    with pytest.raises(UnreachableError) as caught:
        brought(tmp_path / "m", remote)
    assert "ConnectionRefusedError" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_what_is_there_is_read_back_and_not_fetched(
    faults: FaultServer, tmp_path: Path, data: bytes
) -> None:
    served = faults.add("/m", data)
    (tmp_path / "m").write_bytes(data)
    kept = frozenset(range(12))
    seen: list[int] = []
    got = brought(tmp_path / "m", faults.remote("/m"), watch=Watch(progress=seen.append), done=kept)
    assert is_right(got, data)
    assert len(served.requests) == 4
    assert seen[0] == 12 * 64 * KIB
    assert seen[-1] == len(data)
    assert seen == sorted(seen)


def test_cancelling_a_slow_transfer_is_prompt(
    faults: FaultServer, tmp_path: Path, data: bytes
) -> None:
    faults.add("/m", data, rate=20_000.0)
    begun = time.monotonic()
    watch = Watch(cancelled=lambda: time.monotonic() - begun > 0.5)
    with pytest.raises(Cancelled):
        brought(tmp_path / "m", faults.remote("/m"), watch=watch)
    assert time.monotonic() - begun < 2
    assert not [t for t in threading.enumerate() if t.name.startswith("range-")]


def test_cancelling_a_stream_is_prompt(faults: FaultServer, tmp_path: Path, data: bytes) -> None:
    faults.add("/m", data, rate=20_000.0, always="ignore-range")
    begun = time.monotonic()
    watch = Watch(cancelled=lambda: time.monotonic() - begun > 0.5)
    with pytest.raises(Cancelled):
        brought(tmp_path / "m", faults.remote("/m"), watch=watch)
    assert time.monotonic() - begun < 2


def test_callbacks_come_from_the_calling_thread_at_a_sane_rate(
    faults: FaultServer, tmp_path: Path, data: bytes
) -> None:
    faults.add("/m", data, rate=400_000.0)
    calls: list[tuple[float, threading.Thread]] = []

    def note(_: int) -> None:
        calls.append((time.monotonic(), threading.current_thread()))

    settings = Settings(part_size=64 * KIB, workers=2, progress_seconds=0.25)
    brought(tmp_path / "m", faults.remote("/m"), settings, Watch(progress=note))
    assert {thread for _, thread in calls} == {threading.current_thread()}
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(calls[:-1])]
    assert gaps
    assert min(gaps) >= 0.25


def test_parts_are_small_enough_to_keep_nine_tenths() -> None:
    sizes = [1, 64 << 20, 200 << 20, 2 << 30, 100 << 30]
    found = [Settings().part_of(size) >> 20 for size in sizes]
    assert found == [1, 1, 3, 16, 16]
    assert all(Settings().workers * Settings().part_of(s) <= s / 10 for s in sizes[1:])


def test_a_sum_without_order_needs_no_hash(
    faults: FaultServer, tmp_path: Path, data: bytes
) -> None:
    faults.add("/m", data)
    fd = os.open(tmp_path / "m", os.O_RDWR | os.O_CREAT)
    marked: list[int] = []
    none: Hasher | None = fetch(
        faults.remote("/m"), Sink(fd=fd, base=100, mark=marked.append), settings=SMALL
    )
    os.close(fd)
    assert none is None
    assert (tmp_path / "m").read_bytes() == bytes(100) + data
    assert sorted(marked) == list(range(16))


def test_a_redirect_is_followed_without_the_credentials(
    faults: FaultServer, tmp_path: Path, data: bytes
) -> None:
    served = faults.add("/real", data)
    other = faults.url.replace("127.0.0.1", "localhost") + "/real"
    sent = faults.add("/m", data, always=f"status 302 Location={other}")
    headers = {"Authorization": "Bearer canary", "Cookie": "canary"}
    remote = faults.remote("/m", request=lambda: Request(url=faults.url + "/m", headers=headers))
    assert is_right(brought(tmp_path / "m", remote), data)
    assert all("Authorization" in given for given in sent.headers)
    assert not any("Authorization" in given or "Cookie" in given for given in served.headers)


def test_a_circle_of_redirects_ends(faults: FaultServer, tmp_path: Path, data: bytes) -> None:
    faults.add("/m", data, always=f"status 302 Location={faults.url}/m")
    with pytest.raises(UnreachableError, match="redirects in a circle"):
        brought(tmp_path / "m", faults.remote("/m"))
