"""A uv that runs, on a machine that may have neither uv nor pip."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.setup import apt
from comfykiln.setup.checkout import Policy
from comfykiln.system import console, process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfykiln.setup.checkout import Checkout

OLDEST_UV = (0, 5)  # the first that knows UV_DEFAULT_INDEX and relocatable environments
INDEX_REMEDY = (
    "check the network and the package-index settings (pip.conf, PIP_INDEX_URL, PIP_CERT, "
    "UV_DEFAULT_INDEX, HTTPS_PROXY), and start the task again"
)


def find_uv(checkout: Checkout) -> str:
    """Return a uv that runs: the environment's own, the person's, or one from the index."""
    own = checkout.scratch / "uv/bin/uv"
    for candidate in (str(checkout.venv / "bin/uv"), shutil.which("uv") or "", str(own)):
        if candidate and _uv_version(candidate) >= OLDEST_UV:
            return candidate
    console.note("fetching uv from the package index")
    shutil.rmtree(own.parent.parent, ignore_errors=True)
    _pip(checkout, ["--target", str(own.parent.parent), "-r", str(checkout.lock("uv"))])
    if _uv_version(str(own)) < OLDEST_UV:
        raise KilnError(f"pip installed uv, but {own} does not run", remedy="install uv by hand")
    return str(own)


def _uv_version(program: str) -> tuple[int, ...]:
    """Return uv's version, or nothing for a program that is not there or does not run."""
    try:
        words = process.capture([program, "--version"], timeout=30).split()
    except (KilnError, OSError):
        return ()
    numbers = words[1].split(".")[:2] if len(words) > 1 else []
    return tuple(int(number) for number in numbers if number.isdigit())


def _pip(checkout: Checkout, arguments: list[str]) -> None:
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
    with _python_with_pip(checkout) as python:
        try:
            process.capture([python, *install, *arguments], env=environ)
        except process.ProgramError as error:
            raise NotPossibleError(error.message, remedy=INDEX_REMEDY) from error


@contextmanager
def _python_with_pip(checkout: Checkout) -> Iterator[str]:
    """Give a Python that has pip: this one, or one in a folder that is removed afterwards."""
    if importlib.util.find_spec("pip") is not None:
        yield sys.executable
        return
    if importlib.util.find_spec("ensurepip") is None:
        _install_venv_package(checkout)
    folder = checkout.scratch / "pip"
    shutil.rmtree(folder, ignore_errors=True)
    process.capture([sys.executable, "-m", "venv", str(folder)])
    try:
        yield str(folder / "bin/python")
    finally:
        shutil.rmtree(folder)


def _install_venv_package(checkout: Checkout) -> None:
    """Debian and Ubuntu keep venv and pip in packages of their own: install the one, or say so."""
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    system = apt.distribution()
    debian_python = Path(sys.executable).resolve().is_relative_to("/usr/bin")
    if not (system.has_packages and debian_python):
        raise NotPossibleError(
            f"{sys.executable} has neither pip nor ensurepip, and uv is not installed",
            remedy="install uv or pip for this Python, and start the task again",
        )
    root = os.geteuid() == 0
    if not root or checkout.policy is not Policy.AUTO:
        sudo = "" if root else "sudo "
        raise NotPossibleError(
            f"{sys.executable} has neither pip nor ensurepip, and uv is not installed",
            remedy=f"run `{sudo}apt-get update` and `{sudo}apt-get install {package}` "
            "(or install uv), and start the task again",
        )
    apt.update(system.codename)
    apt.install([package])
