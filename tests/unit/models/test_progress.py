"""What people see of a transfer."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING

from comfykiln.models import progress

if TYPE_CHECKING:
    import pytest


def test_amounts_and_times_read_well() -> None:
    sizes = (0, 999, 1000, 6_938_078_334, 2_500_000_000_000)
    assert [progress.amount(size) for size in sizes] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "6.9 GB",
        "2.5 TB",
    ]
    assert [progress.duration(seconds) for seconds in (3.4, 119, 600)] == ["3 s", "119 s", "10 min"]


def test_a_log_gets_a_line_now_and_then_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with progress.Lines() as lines:
        lines.begin("m", 10_000_000_000)
        for seconds in range(0, 40, 5):
            now[0] = 100.0 + seconds
            lines.at("m", 4_000_000_000 + seconds * 100_000_000)  # four were there before
        lines.end("m")
    assert capsys.readouterr().err.splitlines() == [
        "  m: 10.0 GB",
        "  m: 5.5 GB of 10.0 GB, 100.0 MB/s, 45 s left",
        "  m: 7.0 GB of 10.0 GB, 100.0 MB/s, 30 s left",
    ]


def test_a_terminal_gets_a_bar_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress.Bars() as bars:
        bars.begin("a [red] model", 1000)
        bars.at("a [red] model", 250)
        bars.at("a [red] model", 500)
        bars._progress.refresh()
        bars.end("a [red] model")
    said = capsys.readouterr().err
    assert "a [red] model" in said
    assert "0.5/1.0 kB" in said
    assert re.search(r"[\d.]+ [kM]?B/s", said)
    assert re.search(r"\d:\d\d:\d\d", said)
