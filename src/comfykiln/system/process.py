"""The only way to run a program: an argument list, a bounded time, the output kept on failure."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError, NotPossibleError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

TAIL_LINES = 40


class ProgramError(KilnError):
    """A program ended with another exit status than 0; `status` and `output` are kept."""

    def __init__(self, argv: Sequence[str], status: int, output: str, *, remedy: str = "") -> None:
        tail = "\n".join(f"    {line}" for line in output.splitlines()[-TAIL_LINES:])
        super().__init__(
            f"`{command_line(argv)}` ended with status {status}:\n{tail}", remedy=remedy
        )
        self.argv = tuple(argv)
        self.status = status
        self.output = output


class SilentProgramError(KilnError):
    """A program did not end in the time that it was given."""


class BrokenProgramError(KilnError):
    """A program is there, but this machine cannot start it."""


def command_line(argv: Sequence[str]) -> str:
    """Return the command line as a person would type it, for messages only."""
    import shlex  # noqa: PLC0415  # only messages need it

    return shlex.join(argv)


def capture(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 600,
    statuses: Sequence[int] = (0,),
) -> str:
    """Run `argv` to its end and return its standard output.

    `timeout` is in seconds. A status outside `statuses` raises `ProgramError` with both streams;
    a missing program raises `NotPossibleError`, one that cannot be started `BrokenProgramError`,
    one that goes on `SilentProgramError`.
    """
    try:
        done = subprocess.run(
            list(argv),
            cwd=cwd,
            env=None if env is None else dict(env),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except OSError as error:
        raise _not_started(argv, error) from error
    except subprocess.TimeoutExpired as error:
        raise SilentProgramError(
            f"`{command_line(argv)}` gave no result within {timeout:g} s",
            remedy="look at what it waits for (network, lock, prompt) and run it by hand",
        ) from error
    if done.returncode not in statuses:
        raise ProgramError(argv, done.returncode, done.stdout + done.stderr)
    return done.stdout


def capture_bytes(
    argv: Sequence[str], *, env: Mapping[str, str], stdin: bytes, timeout: float = 600
) -> bytes:
    """Run `argv` on the bytes `stdin` and return the bytes it prints; faults as in `capture`."""
    try:
        done = subprocess.run(
            list(argv),
            env=dict(env),
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except OSError as error:
        raise _not_started(argv, error) from error
    except subprocess.TimeoutExpired as error:
        raise KilnError(
            f"`{command_line(argv)}` gave no result within {timeout:g} s", remedy="run it by hand"
        ) from error
    if done.returncode != 0:
        raise ProgramError(argv, done.returncode, done.stderr.decode("utf-8", "replace"))
    return done.stdout


def stream(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run `argv`, giving each line of its joined output streams to `on_line` as it comes.

    On Ctrl-C or any fault in `on_line` the program is ended before the exception goes on.
    Raises `ProgramError` for a status other than 0, `NotPossibleError` for a missing program.
    """
    kept: list[str] = []
    try:
        child = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise _not_started(argv, error) from error
    try:
        for line in child.stdout or ():
            kept.append(line)
            on_line(line.rstrip("\n"))
        status = child.wait()
    finally:
        _end(child)
    if status != 0:
        raise ProgramError(argv, status, "".join(kept[-400:]))


def start_detached(
    argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
) -> Callable[[], bool]:
    """Start a daemon in a session of its own, both its output streams appended to `log`.

    It outlives this program, its terminal and its Ctrl-C. Returns what tells whether it still
    runs; whether it works is for the caller to ask. A missing program raises `NotPossibleError`.
    """
    with log.open("ab") as file:
        try:
            child = subprocess.Popen(
                list(argv),
                env=None if env is None else dict(env),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise _not_started(argv, error) from error
    return lambda: child.poll() is None


def _end(child: subprocess.Popen[str]) -> None:
    """End a program that still runs, and all it started: asked first, killed after ten seconds.

    The whole process group, as Ctrl-C on a terminal does: a program that waits for its own children
    would otherwise go on, and leave its temporary files.
    """
    if child.poll() is not None:
        if child.stdout is not None:
            child.stdout.close()
        return
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def _not_started(argv: Sequence[str], error: OSError) -> KilnError:
    if error.filename and error.filename != argv[0]:
        return NotPossibleError(
            f"`{command_line(argv)}` cannot start: {error.filename}: {error.strerror}",
            remedy="create the folder, or name another one",
        )
    if not isinstance(error, FileNotFoundError):
        return BrokenProgramError(
            f"the program `{argv[0]}` cannot be started: {error.strerror}",
            remedy=f"look at `command -v {argv[0]}`: not for this machine, or not yours to run",
        )
    return NotPossibleError(
        f"the program `{argv[0]}` is not installed",
        remedy=f"install {argv[0]}, or start the task with ./kiln, which sets the machine up",
    )
