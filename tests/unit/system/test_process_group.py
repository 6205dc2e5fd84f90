from __future__ import annotations

import time
from pathlib import Path

import pytest

from comfykiln.system.process import stream


def running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(") ")[2][0] != "Z"


def test_what_a_stopped_program_started_ends_with_it() -> None:
    started: list[int] = []

    def stop(line: str) -> None:
        started.append(int(line))
        raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stream(["sh", "-c", "sleep 60 & echo $!; wait"], stop)

    assert time.monotonic() - begin < 5
    deadline = time.monotonic() + 5
    while running(started[0]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running(started[0])
