"""The Python environment `.venv`, made from hash-locked files: `run` for tasks, `dev` adds tests.

An environment is built beside its place and moved there whole, so a half-made one is never taken
for a whole one. A copy of the lock file inside it says what it was made from.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln import console, files, process
from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.indexes import IndexSettings, index_settings
from comfykiln.setup import apt
from comfykiln.setup.engine import Policy, policy_of

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST_UV = (0, 5)  # the first that knows UV_DEFAULT_INDEX and relocatable environments
INDEX_REMEDY = (
    "check the network and the package-index settings (pip.conf, PIP_INDEX_URL, PIP_CERT, "
    "UV_DEFAULT_INDEX, HTTPS_PROXY), and start the task again"
)


class Part(StrEnum):
    """What an environment can hold; `dev` holds everything of `run` in the same versions."""

    RUN = "run"
    DEV = "dev"


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """The folders of one checkout; `root` is its top folder."""

    root: Path

    @property
    def venv(self) -> Path:
        """Where the environment is used."""
        return self.root / ".venv"

    @property
    def scratch(self) -> Path:
        """Where things are made before they are moved to their place."""
        return self.root / ".kiln"

    def lock(self, part: str) -> Path:
        """Return the lock file of `part`: "run", "dev" or "uv"."""
        return self.root / "locks" / f"{part}.txt"


def prepare(places: Places, part: Part) -> None:
    """Make `.venv` hold `part`, unless it does; other ./kiln of this checkout wait meanwhile."""
    with _alone(places):
        if not is_made(places.venv, Part.RUN, places):
            _replace(places)
        if part is Part.DEV and not is_made(places.venv, Part.DEV, places):
            _extend(places)


def is_made(venv: Path, part: Part, places: Places) -> bool:
    """Tell whether `venv` works and was made from the lock of `part` as it is now."""
    stamp = venv / "kiln" / f"{part}.txt"
    if not (venv / "bin/invoke").is_file() or not os.access(venv / "bin/python", os.X_OK):
        return False
    return stamp.is_file() and stamp.read_bytes() == places.lock(part).read_bytes()


def _replace(places: Places) -> None:
    """Build the environment for tasks beside `.venv`, then let it take that place."""
    with console.timed(f"making the Python environment {places.venv}"):
        fresh = places.scratch / "venv-fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        uv = _uv(places)
        make = ["venv", "--relocatable", "--no-python-downloads", "--python", sys.executable]
        _run_uv(uv, [*make, str(fresh)])
        _sync(uv, fresh, Part.RUN, places)
        _make_room(places)
        fresh.rename(places.venv)
        shutil.rmtree(places.scratch / "uv", ignore_errors=True)


def _extend(places: Places) -> None:
    """Add the tools of tests and checks, in place: whatever runs from `.venv` goes on running."""
    with console.timed("adding the tools for tests and checks"):
        (places.venv / "kiln/dev.txt").unlink(missing_ok=True)
        _sync(_uv(places), places.venv, Part.DEV, places)


def _sync(uv: str, venv: Path, part: Part, places: Places) -> None:
    """Make `venv` hold exactly the lock of `part` and this checkout's `src`; stamp it last."""
    lock = places.lock(part)
    held = lock.read_bytes()
    exact = ["pip", "sync", "--require-hashes", "--no-build", "--compile-bytecode"]
    python = str(venv / "bin/python")
    _run_uv(uv, [*exact, *_settings().uv_arguments(), "--python", python, str(lock)])
    _add_sources(venv, places)
    process.capture([str(venv / "bin/invoke"), "--version"])
    files.write_bytes(venv / "kiln" / f"{part}.txt", held)


def _add_sources(venv: Path, places: Places) -> None:
    """Let `venv` import from this checkout's `src`.

    A path file instead of an installed package: there is nothing to build or to fetch for it,
    and being relative it goes on working when the checkout is moved.
    """
    (site,) = venv.glob("lib/python3*/site-packages")
    source = os.path.relpath(places.root / "src", places.venv / site.relative_to(venv))
    files.write_text(site / "comfykiln.pth", f"{source}\n")


def _make_room(places: Places) -> None:
    """Move what stands at `.venv` away: an older environment of ours, or somebody's own."""
    if not places.venv.is_symlink() and not places.venv.exists():
        return
    kept = places.scratch / "venv-replaced"
    shutil.rmtree(kept, ignore_errors=True)
    ours = (places.venv / "kiln").is_dir()
    places.venv.rename(kept)
    if ours:
        shutil.rmtree(kept)
    else:
        console.note(f"changed: the .venv that was there is now {kept}")


def _uv(places: Places) -> str:
    """Return a uv that runs: the environment's own, the person's, or one from the index."""
    own = places.scratch / "uv/bin/uv"
    for candidate in (str(places.venv / "bin/uv"), shutil.which("uv") or "", str(own)):
        if candidate and _uv_version(candidate) >= OLDEST_UV:
            return candidate
    console.note("fetching uv from the package index")
    shutil.rmtree(own.parent.parent, ignore_errors=True)
    _pip(places, ["--target", str(own.parent.parent), "-r", str(places.lock("uv"))])
    if _uv_version(str(own)) < OLDEST_UV:
        raise KilnError(f"pip installed uv, but {own} does not run", remedy="install uv by hand")
    return str(own)


def _uv_version(program: str) -> tuple[int, ...]:
    """Return uv's version, or nothing for a program that is not there or does not run."""
    try:
        words = process.capture([program, "--version"], timeout=30).split()
    except (NotPossibleError, process.ProgramError, PermissionError, OSError):
        return ()
    numbers = words[1].split(".")[:2] if len(words) > 1 else []
    return tuple(int(number) for number in numbers if number.isdigit())


def _run_uv(uv: str, arguments: list[str]) -> None:
    environ = _settings().uv_environment(os.environ)
    # These two would make uv work on another environment or another Python than the one named.
    chosen = {k: v for k, v in environ.items() if k not in {"VIRTUAL_ENV", "UV_SYSTEM_PYTHON"}}
    try:
        process.capture([uv, *arguments], env=chosen)
    except process.ProgramError as error:
        raise process.ProgramError(
            error.argv, error.status, error.output, remedy=INDEX_REMEDY
        ) from error


def _pip(places: Places, arguments: list[str]) -> None:
    """Run pip's install with hashes required and the person's own settings.

    Only settings that would redirect the installation are taken back.
    """
    environ = os.environ | {
        "PIP_REQUIRE_VIRTUALENV": "0",
        "PIP_USER": "0",
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    install = ["-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:"]
    with _python_with_pip(places) as python:
        try:
            process.capture([python, *install, *arguments], env=environ)
        except process.ProgramError as error:
            raise process.ProgramError(
                error.argv, error.status, error.output, remedy=INDEX_REMEDY
            ) from error


@contextmanager
def _python_with_pip(places: Places) -> Iterator[str]:
    """Give a Python that has pip: this one, or one in a folder that is removed afterwards."""
    if importlib.util.find_spec("pip") is not None:
        yield sys.executable
        return
    if importlib.util.find_spec("ensurepip") is None:
        _install_venv_package()
    folder = places.scratch / "pip"
    shutil.rmtree(folder, ignore_errors=True)
    process.capture([sys.executable, "-m", "venv", str(folder)])
    try:
        yield str(folder / "bin/python")
    finally:
        shutil.rmtree(folder)


def _install_venv_package() -> None:
    """Debian and Ubuntu keep venv and pip in packages of their own: install the one, or say so."""
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    system = apt.distribution()
    debian_python = Path(sys.executable).resolve().is_relative_to("/usr/bin")
    if not (system.has_packages and debian_python):
        raise NotPossibleError(
            f"{sys.executable} has neither pip nor ensurepip, and uv is not installed",
            remedy="install uv or pip for this Python, and start the task again",
        )
    if os.geteuid() != 0 or policy_of(os.environ) is not Policy.AUTO:
        raise NotPossibleError(
            f"{sys.executable} has neither pip nor ensurepip, and uv is not installed",
            remedy=f"run `sudo apt-get install {package}` (or install uv), "
            "and start the task again",
        )
    apt.update(system.codename)
    apt.install([package])
    console.note(f"changed: installed {package}")


def _settings() -> IndexSettings:
    return index_settings(os.environ)


@contextmanager
def _alone(places: Places) -> Iterator[None]:
    """Let one ./kiln of a checkout at a time work on its environment; the lock dies with it."""
    places.scratch.mkdir(exist_ok=True)
    with (places.scratch / "setup.lock").open("w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.note("waiting for another ./kiln that sets this checkout up")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
