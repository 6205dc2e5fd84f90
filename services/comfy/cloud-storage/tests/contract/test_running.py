"""While a node works: the bar moves at a sane rate, other nodes go on, a stop is prompt."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import comfy.model_management
import pytest
from conftest import Bucket, Comfy, part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = os.urandom(4_000_000)
ETAG = f'"{hashlib.md5(DATA, usedforsecurity=False).hexdigest()}"'


class Slow(BaseHTTPRequestHandler):
    """One object, sent at 700 kilobytes a second for each connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._head(200, len(DATA))

    def do_GET(self) -> None:
        start, last = (int(n) for n in self.headers["Range"].removeprefix("bytes=").split("-"))
        told = f"bytes {start}-{last}/{len(DATA)}"
        self._head(206, last + 1 - start, told)
        try:
            for place in range(start, last + 1, 65536):
                self.wfile.write(DATA[place : min(place + 65536, last + 1)])
                time.sleep(65536 / 700_000)
        except OSError:
            self.close_connection = True

    def _head(self, status: int, length: int, told: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", ETAG)
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if told:
            self.send_header("Content-Range", told)
        self.end_headers()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A slow store that the environment variables lead to."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    for name, value in {
        "PROVIDER": "Custom",
        "ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}",
        "ACCESS_KEY": "a",
        "SECRET_KEY": "b",
        "BUCKET": "bucket",
    }.items():
        monkeypatch.setenv(f"COMFY_S3_{name}", value)
    yield
    server.shutdown()
    server.server_close()
    thread.join()


GRAPH = {
    "1": {
        "class_type": "LoadModelFromCloud",
        "inputs": {
            "model_type": "checkpoints",
            "key": "slow.safetensors",
            "force_redownload": False,
        },
    },
    "2": {"class_type": "Sink", "inputs": {"value": ["1", 0]}},
}


@pytest.mark.usefixtures("slow")
def test_w12_progress_is_shown_at_a_sane_rate_and_reaches_the_end(
    comfy: Comfy, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message for every chunk, from ten threads."""
    compat = part("compat")
    real, seen = compat.show_progress, []

    def note(node: str, value: float, total: float, text: str) -> None:
        seen.append((time.monotonic(), threading.current_thread(), node, value, total, text))
        real(node, value, total, text)

    monkeypatch.setattr(compat, "show_progress", note)
    assert comfy.run(GRAPH).success
    times = [entry[0] for entry in seen]
    values = [entry[3] for entry in seen]
    assert values == sorted(values)
    assert values[-1] == len(DATA)
    assert len(seen) <= 5 * (times[-1] - times[0]) + 3
    assert {entry[1] for entry in seen} == {threading.current_thread()}
    assert {entry[2] for entry in seen} == {"1"}
    assert seen[-1][5].startswith("3.8 MiB of 3.8 MiB, ")
    shown = [
        data["nodes"]["1"]["value"]
        for event, data in comfy.events
        if event == "progress_state" and "1" in data["nodes"]
    ]
    assert max(shown) == len(DATA)


@pytest.mark.usefixtures("slow")
def test_a_stop_is_prompt_and_the_rest_is_kept(comfy: Comfy, models: Path) -> None:
    begun = time.monotonic()
    threading.Timer(0.7, comfy_stop).start()
    ran = comfy.run(GRAPH)
    assert time.monotonic() - begun < 2
    assert not ran.success
    assert [name for name, _ in ran.events if name == "execution_interrupted"]
    assert ran.errors == []
    names = sorted(path.name for path in (models / "checkpoints").iterdir() if path.is_file())
    assert names == [".slow.safetensors.part", ".slow.safetensors.part.json"]
    again = comfy.run(GRAPH)
    assert again.success
    assert (models / "checkpoints/slow.safetensors").read_bytes() == DATA


@pytest.mark.usefixtures("slow")
def test_a_request_that_hangs_does_not_hold_up_a_stop(
    comfy: Comfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part("runtime"), "GRACE", 0.3)
    monkeypatch.setattr(Slow, "do_HEAD", lambda _: time.sleep(6))
    graph = {
        "1": {"class_type": "GeneratePresignedURL", "inputs": {"key": "x", "expires_hours": 1}},
    }
    begun = time.monotonic()
    threading.Timer(0.5, comfy_stop).start()
    ran = comfy.run(graph)
    assert time.monotonic() - begun < 3
    assert [name for name, _ in ran.events if name == "execution_interrupted"]


def comfy_stop() -> None:
    comfy.model_management.interrupt_current_processing(value=True)


@pytest.mark.usefixtures("slow")
def test_w13_two_transfers_of_one_prompt_run_together(comfy: Comfy, models: Path) -> None:
    """One slow transfer held up everything else."""
    second = {
        "3": {
            "class_type": "LoadModelFromCloud",
            "inputs": GRAPH["1"]["inputs"] | {"key": "other.safetensors"},  # type: ignore[operator]
        },
        "4": {"class_type": "Sink", "inputs": {"value": ["3", 0]}},
    }
    begun = time.monotonic()
    assert comfy.run(GRAPH).success
    alone = time.monotonic() - begun
    (models / "checkpoints/slow.safetensors").unlink()
    begun = time.monotonic()
    assert comfy.run(GRAPH | second).success
    assert time.monotonic() - begun < 1.6 * alone


@pytest.mark.usefixtures("slow")
def test_a_fault_beside_a_transfer_ends_it(comfy: Comfy, models: Path) -> None:
    failing = {
        "3": {"class_type": "LoadImageFromCloud", "inputs": {"key": "a.png"}},
        "4": {"class_type": "Sink", "inputs": {"value": ["3", 0]}},
    }
    begun = time.monotonic()
    ran = comfy.run(GRAPH | failing)
    assert not ran.success
    assert time.monotonic() - begun < 5
    assert not [t for t in threading.enumerate() if t.name.startswith("range-")]


def test_w13_uploads_run_several_at_a_time(
    one_bucket: Bucket, comfy: Comfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # used here alone
    from conftest import Source  # the same

    saving = part("saving")
    real, running, most = saving.upload, [0], [0]
    lock = threading.Lock()

    def slow_upload(*given: Any, **more: Any) -> Any:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.1)
        try:
            return real(*given, **more)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(saving, "upload", slow_upload)
    Source.things["images"] = torch.rand(24, 4, 4, 3)
    graph: dict[str, Any] = {
        "1": {"class_type": "Source", "inputs": {"name": "images"}},
        "2": {
            "class_type": "SaveImageToCloud",
            "inputs": {
                "images": ["1", 0],
                "key_prefix": "",
                "filename": "%batch_num%",
                "format": "png",
                "quality": 90,
            },
        },
    }
    assert comfy.run(graph).success
    assert most[0] == saving.WORKERS
    assert len(one_bucket.keys()) == 24
