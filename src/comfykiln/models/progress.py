"""What people see of a transfer: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from comfykiln.system import console, gate

if TYPE_CHECKING:
    from types import TracebackType

LINE_SECONDS = 15.0


class Shown(Protocol):
    """Where a transfer tells how far it is."""

    def begin(self, name: str, size: int) -> None:
        """Tell that a transfer of `size` bytes begins."""

    def at(self, name: str, done: int) -> None:
        """Tell that `done` bytes are in place."""

    def end(self, name: str) -> None:
        """Tell that the transfer is over, well or not."""


class Silent:
    """Tells nobody."""

    def begin(self, name: str, size: int) -> None:
        """Do nothing."""

    def at(self, name: str, done: int) -> None:
        """Do nothing."""

    def end(self, name: str) -> None:
        """Do nothing."""


class Lines:
    """Plain lines for logs: each transfer at most every 15 seconds."""

    def __init__(self) -> None:
        self._state: dict[str, tuple[int, int, float, float]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Lines:  # noqa: PYI034  # not derived from
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left open."""

    def begin(self, name: str, size: int) -> None:
        """Say what begins."""
        now = time.monotonic()
        self._state[name] = (size, -1, now, now)
        console.note(f"{name}: {amount(size)}")

    def at(self, name: str, done: int) -> None:
        """Say how far it is, how fast, and how long it will take, if it is time to."""
        with self._lock:
            size, first, start, last = self._state[name]
            if first < 0:
                first = done  # what an earlier run left counts for no rate
            now = time.monotonic()
            told = now - last >= LINE_SECONDS
            self._state[name] = (size, first, start, now if told else last)
        if told:
            rate = (done - first) / (now - start)
            left = f", {duration((size - done) / rate)} left" if rate else ""
            console.note(f"{name}: {amount(done)} of {amount(size)}, {amount(int(rate))}/s{left}")

    def end(self, name: str) -> None:
        """Forget it."""
        self._state.pop(name, None)


class Bars:
    """One bar for each transfer, with rate and time left."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415  # only a terminal needs it
        from rich.progress import (  # noqa: PLC0415  # the same
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress: Any = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=False),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Bars:  # noqa: PYI034  # not derived from
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def begin(self, name: str, size: int) -> None:
        """Show a bar."""
        self._tasks[name] = self._progress.add_task(console.fit(gate.one_line(name)), total=size)

    def at(self, name: str, done: int) -> None:
        """Move the bar."""
        self._progress.update(self._tasks[name], completed=done)

    def end(self, name: str) -> None:
        """Take the bar away."""
        task = self._tasks.pop(name, None)
        if task is not None:
            self._progress.remove_task(task)


def shown() -> Bars | Lines:
    """Return bars where standard error is a terminal, else lines; use it with `with`."""
    return Bars() if sys.stderr.isatty() else Lines()


def amount(size: int) -> str:
    """Return bytes as people read them: `6.9 GB`."""
    number = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:  # noqa: PLR2004  # SI
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def duration(seconds: float) -> str:
    """Return seconds as people read them: `75 s`, `12 min`."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004  # two minutes
