"""What the rows of Python packages share: the environment, uv's installing, what is installed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from comfykiln.restore.running import StepError, network_environment, output, run

ENVIRONMENT = Path("/app/.venv")
APP = Path("/app")


def building(lock: Path) -> list[str]:
    """Return uv's arguments for building: nothing, or what the lock's header allows.

    The header pins the tools that build, too, so that the same source gives the same files.
    """
    text = lock.read_text("utf-8")
    allowed = re.search(r"(?m)^# sdists: (.+)$", text)
    tools = re.search(r"(?m)^# build: (.+)$", text)
    if not tools:
        return ["--no-build"]
    held = Path("/tmp/build-constraints.txt")  # noqa: S108  # a build stage has one user
    held.write_text("".join(f"{pin}\n" for pin in tools[1].split()), "utf-8")
    sdists = allowed[1].split() if allowed else []
    names = [word for name in sdists for word in ("--no-binary", name)]
    return ["--only-binary", ":all:", *names, "--build-constraints", str(held)]


def create_environment() -> None:
    """Make the virtual environment with the base's own Python."""
    run(["uv", "venv", "--quiet", "--python", "/usr/bin/python3", "--no-project", str(ENVIRONMENT)])


def uv_install(arguments: list[str]) -> None:
    """Run `uv pip install --no-deps` with the host's index settings."""
    argv = ["uv", "pip", "install", "--python", str(ENVIRONMENT / "bin/python"), "--no-progress"]
    run([*argv, "--no-deps", *arguments], env=network_environment())


def locked_versions(lock: Path) -> dict[str, str]:
    """Return name → version of every entry of a lock in requirements form."""
    pairs = re.findall(r"(?m)^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", lock.read_text("utf-8"))
    return {normalized(name): version for name, version in pairs}


def installed_versions(environment: Path = ENVIRONMENT) -> dict[str, str]:
    """Return name → version of what is installed, by uv's own reading of the metadata on disk."""
    import json  # noqa: PLC0415  # with its one use

    argv = ["uv", "pip", "list", "--format", "json", "--python", str(environment / "bin/python")]
    status, text = output([*argv, "--quiet"])
    if status != 0:
        raise StepError(f"uv cannot list what is installed: {text.strip()}")
    return {normalized(entry["name"]): entry["version"] for entry in json.loads(text)}


def expect_installed(wanted: dict[str, str]) -> None:
    """Raise `StepError` that names every package missing, surplus or at another version."""
    found = installed_versions()
    wrong = [
        f"{name}: wanted {wanted.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if wrong:
        raise StepError("the environment is not what the lock says:\n  " + "\n  ".join(wrong))


def normalized(name: str) -> str:
    """Return a package name in the form of PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def epoch() -> int:
    """Return the time stamp of every file, in seconds, from SOURCE_DATE_EPOCH."""
    return int(os.environ["SOURCE_DATE_EPOCH"])
