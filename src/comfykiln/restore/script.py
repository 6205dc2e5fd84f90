"""Run a program of a stranger to its end: never for ever, and with nothing of it left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROCESSES = Path("/proc")
# linux/prctl.h: processes whose parent has ended become children of this one, not of the first.
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a program ended: its status, None where it was still running when its time was over.

    `text` is what it printed, `left` are the commands of processes that it left behind.
    """

    status: int | None
    text: str
    left: tuple[str, ...]


def run_to_end(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, seconds: float) -> Ended:
    """Run `argv` for at most `seconds`, then kill whatever of it still runs, in any session.

    What it prints goes to a file: a process left behind would keep a pipe open for ever.
    """
    print("+ " + " ".join(argv), flush=True)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = set(_descendants())
    with tempfile.TemporaryFile() as told:
        started = subprocess.Popen(
            list(argv),
            env=dict(os.environ) | dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
        )
        try:
            status: int | None = started.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        left = _kill(before)
        started.wait()
        told.seek(0)
        text = told.read().decode("utf-8", "replace")
    return Ended(status=status, text=text, left=tuple(left) if status is not None else ())


def _kill(before: set[int]) -> list[str]:
    """Kill every process below this one that was not there before; return their commands."""
    commands: dict[int, str] = {}
    while there := set(_descendants()) - before:
        for pid in there:
            commands[pid] = _command(pid) or commands.get(pid, "")
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue  # it has ended by itself, or its own parent is the next to be killed
    return sorted(filter(None, commands.values()))


def _descendants() -> Iterator[int]:
    """Yield the processes below this one."""
    below: dict[int, list[int]] = {}
    for entry in PROCESSES.iterdir():
        if entry.name.isdigit():
            below.setdefault(_parent(entry), []).append(int(entry.name))
    found = list(below.get(os.getpid(), []))
    for pid in found:
        yield pid
        found += below.get(pid, [])


def _parent(entry: Path) -> int:
    """Return the parent of a process, 0 for one that has ended meanwhile."""
    try:
        # The command's name, in parentheses, may hold anything.
        return int((entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _command(pid: int) -> str:
    try:
        return (PROCESSES / str(pid) / "cmdline").read_text("utf-8", "replace").replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""
