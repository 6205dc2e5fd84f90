"""The Python environment `.venv`, made from hash-locked files: `run` for tasks, `dev` adds tests.

An environment is built beside its place and moved there whole, so a half-made one is never taken
for a whole one. A copy of the lock file inside it says what it was made from.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

from comfykiln.errors import NotPossibleError
from comfykiln.network.pip import pip_settings
from comfykiln.setup.bootstrap import INDEX_REMEDY, find_uv
from comfykiln.system import console, files, process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from comfykiln.setup.checkout import Checkout


class Part(StrEnum):
    """What an environment can hold; `dev` holds everything of `run` in the same versions."""

    RUN = "run"
    DEV = "dev"


def prepare(checkout: Checkout, part: Part) -> None:
    """Make `.venv` hold `part`, unless it does; other ./kiln of this checkout wait meanwhile."""
    with _alone(checkout):
        if not is_made(checkout.venv, Part.RUN, checkout):
            _replace(checkout)
        if part is Part.DEV and not is_made(checkout.venv, Part.DEV, checkout):
            _extend(checkout)


def is_made(venv: Path, part: Part, checkout: Checkout) -> bool:
    """Tell whether `venv` works and was made from the lock of `part` as it is now."""
    stamp = venv / "kiln" / f"{part}.txt"
    if not (venv / "bin/invoke").is_file() or not os.access(venv / "bin/python", os.X_OK):
        return False
    return stamp.is_file() and stamp.read_bytes() == checkout.lock(part).read_bytes()


def _replace(checkout: Checkout) -> None:
    """Build the environment for tasks beside `.venv`, then let it take that place."""
    with console.timed(f"making the Python environment {checkout.venv}"):
        fresh = checkout.scratch / "venv-fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        uv = find_uv(checkout)
        make = ["venv", "--relocatable", "--no-python-downloads", "--python", sys.executable]
        _run_uv(uv, [*make, str(fresh)])
        _sync(uv, fresh, Part.RUN, checkout)
        _make_room(checkout)
        fresh.rename(checkout.venv)
        shutil.rmtree(checkout.scratch / "uv", ignore_errors=True)


def _extend(checkout: Checkout) -> None:
    """Add the tools of tests and checks, in place: whatever runs from `.venv` goes on running."""
    with console.timed("adding the tools for tests and checks"):
        (checkout.venv / "kiln/dev.txt").unlink(missing_ok=True)
        _sync(find_uv(checkout), checkout.venv, Part.DEV, checkout)


def _sync(uv: str, venv: Path, part: Part, checkout: Checkout) -> None:
    """Make `venv` hold exactly the lock of `part` and this checkout's `src`; stamp it last."""
    lock = checkout.lock(part)
    held = lock.read_bytes()
    exact = ["pip", "sync", "--require-hashes", "--no-build", "--compile-bytecode"]
    python = str(venv / "bin/python")
    _run_uv(uv, [*exact, *pip_settings().uv_arguments(), "--python", python, str(lock)])
    _add_sources(venv, checkout)
    process.capture([str(venv / "bin/invoke"), "--version"])
    files.write_bytes(venv / "kiln" / f"{part}.txt", held)


def _add_sources(venv: Path, checkout: Checkout) -> None:
    """Let `venv` import from this checkout's `src`.

    A path file instead of an installed package: there is nothing to build or to fetch for it,
    and being relative it goes on working when the checkout is moved.
    """
    (site,) = venv.glob("lib/python3*/site-packages")
    source = os.path.relpath(checkout.root / "src", checkout.venv / site.relative_to(venv))
    files.write_text(site / "comfykiln.pth", f"{source}\n")


def _make_room(checkout: Checkout) -> None:
    """Move what stands at `.venv` away: an older environment of ours, or somebody's own."""
    if not checkout.venv.is_symlink() and not checkout.venv.exists():
        return
    kept = checkout.scratch / "venv-replaced"
    shutil.rmtree(kept, ignore_errors=True)
    ours = (checkout.venv / "kiln").is_dir()
    checkout.venv.rename(kept)
    if ours:
        shutil.rmtree(kept)
    else:
        console.note(f"changed: the .venv that was there is now {kept}")


def _run_uv(uv: str, arguments: list[str]) -> None:
    environ = pip_settings().uv_environment(os.environ)
    # These two would make uv work on another environment or another Python than the one named.
    chosen = {k: v for k, v in environ.items() if k not in {"VIRTUAL_ENV", "UV_SYSTEM_PYTHON"}}
    try:
        process.capture([uv, *arguments], env=chosen)
    except process.ProgramError as error:
        raise NotPossibleError(error.message, remedy=INDEX_REMEDY) from error


@contextmanager
def _alone(checkout: Checkout) -> Iterator[None]:
    """Let one ./kiln of a checkout at a time work on its environment; the lock dies with it."""
    checkout.scratch.mkdir(exist_ok=True)
    with (checkout.scratch / "setup.lock").open("w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.note("waiting for another ./kiln that sets this checkout up")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
