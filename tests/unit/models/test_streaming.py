"""Bytes in order without a file: verified, resumed at another source, dropped when wrong."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.support.modelfiles import locked, safetensors, sha256

from comfykiln.errors import KilnError
from comfykiln.models import store
from comfykiln.models.download import NotHadError
from comfykiln.models.fetch import fetch
from comfykiln.models.streaming import stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.faultserver import FaultServer

    from comfykiln.models.records import LockedModel

DATA = safetensors(4_000_000)


def streamed(model: LockedModel) -> bytes:
    with stream(model) as pieces:
        return b"".join(bytes(piece) for piece in pieces)


def test_the_bytes_come_in_order_and_nothing_is_stored(faults: FaultServer) -> None:
    faults.add("/m", DATA)
    assert streamed(locked(DATA, f"{faults.url}/m")) == DATA
    assert not store.path_of(sha256(DATA)).exists()


def test_a_stored_file_is_taken_from_the_store(faults: FaultServer) -> None:
    served = faults.add("/m", DATA)
    model = locked(DATA, f"{faults.url}/m")
    fetch([model])
    asked = len(served.requests)
    assert streamed(model) == DATA
    assert len(served.requests) == asked


def test_a_local_file_is_streamed(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(DATA)
    assert streamed(locked(DATA, f"file:{tmp_path}/m")) == DATA


def test_wrong_bytes_raise_after_the_last(faults: FaultServer) -> None:
    faults.add("/m", DATA[:-1] + b"x")
    got: list[int] = []
    with (
        stream(locked(DATA, f"{faults.url}/m")) as pieces,
        pytest.raises(KilnError, match="its bytes have the sha256"),
    ):
        got.extend(len(piece) for piece in pieces)
    assert sum(got) == len(DATA)


def dying_after(first_piece: threading.Event) -> Callable[[str], str]:
    """Return what lets an object vanish once its first part has been used."""

    def judge(byte_range: str) -> str:
        if byte_range.startswith("bytes=0-"):
            return ""
        assert first_piece.wait(20)
        return "status 404"

    return judge


def test_another_source_goes_on_from_the_same_byte(faults: FaultServer) -> None:
    first_piece = threading.Event()
    faults.add("/dying", DATA, judge=dying_after(first_piece))
    faults.add("/good", DATA)
    got = b""
    with stream(locked(DATA, f"{faults.url}/dying", f"{faults.url}/good")) as pieces:
        for piece in pieces:
            got += piece
            first_piece.set()
    assert got == DATA


def test_another_beginning_is_never_joined_to_the_first(faults: FaultServer) -> None:
    first_piece = threading.Event()
    faults.add("/dying", DATA, judge=dying_after(first_piece))
    faults.add("/other", bytes(1) + DATA[1:])
    with (
        stream(locked(DATA, f"{faults.url}/dying", f"{faults.url}/other")) as pieces,
        pytest.raises(NotHadError, match="begins with other bytes"),
    ):
        list(map(lambda _: first_piece.set(), pieces))  # noqa: C417  # one statement that may raise


def test_leaving_early_ends_the_transfer(faults: FaultServer) -> None:
    faults.add("/m", DATA, rate=2_000_000)
    before = threading.active_count()
    with stream(locked(DATA, f"{faults.url}/m")) as pieces:
        next(pieces)
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("stream", "range"))]
    assert before >= 1


def test_a_missing_model_is_told(faults: FaultServer) -> None:
    with (
        stream(locked(DATA, f"{faults.url}/none")) as pieces,
        pytest.raises(NotHadError, match=r"model is not available:\n.*Nothing is at"),
    ):
        next(pieces)
