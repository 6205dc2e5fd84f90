"""The torch row: the family and what it needs on one accelerator, nothing that others share."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from comfykiln.restore.packages import (
    APP,
    ENVIRONMENT,
    create_environment,
    epoch,
    expect_installed,
    installed_versions,
    locked_versions,
    normalized,
    uv_install,
)
from comfykiln.restore.running import StepError, network_environment, run
from comfykiln.restore.sealing import seal


def install(choice: Path) -> None:
    """Install the row that `torch.json` describes.

    With a lock (`torch.txt` beside it) exactly its hashed entries; without one, the exact versions
    from the target's own index with what they need there, less what the packages row holds.
    """
    wanted = json.loads(choice.read_text("utf-8"))
    create_environment()
    lock = choice.with_name("torch.txt")
    if lock.is_file():
        uv_install(["--require-hashes", "--no-build", "-r", str(lock)])
        expect_installed(locked_versions(lock))
    else:
        _install_from_index(wanted, choice.with_name("packages.txt"))
    expect_family(installed_versions(), wanted["requirements"])
    _remove_scaffold(ENVIRONMENT)
    seal(APP, epoch())


def _install_from_index(wanted: dict[str, Any], packages: Path) -> None:
    """Let uv resolve the family on the target's index, the shared packages held at their lock."""
    shared = locked_versions(packages)
    held = Path("/tmp/constraints.txt")  # noqa: S108  # a build stage has one user
    held.write_text("".join(f"{name}=={version}\n" for name, version in shared.items()), "utf-8")
    argv = ["uv", "pip", "install", "--python", str(ENVIRONMENT / "bin/python"), "--no-progress"]
    argv += ["--no-build", "--index", wanted["index"], "--index-strategy", "unsafe-best-match"]
    run([*argv, "--constraint", str(held), *wanted["requirements"]], env=network_environment())
    surplus = sorted(installed_versions().keys() & shared.keys())
    if surplus:
        run(["uv", "pip", "uninstall", "--python", str(ENVIRONMENT / "bin/python"), *surplus])


def expect_family(found: dict[str, str], requirements: list[str]) -> None:
    """Raise `StepError` when a member of the family is missing or at another version.

    A requirement without a local tag accepts any local tag; one with a tag accepts that one.
    """
    for line in requirements:
        name, _, version = line.partition("==")
        have = found.get(normalized(name), "nothing")
        if have != version and ("+" in version or have.partition("+")[0] != version):
            raise StepError(f"the torch row holds {name} {have}, not {version}")


def _remove_scaffold(environment: Path) -> None:
    """Leave only what packages brought: the environment itself belongs to the packages row."""
    for name in ("pyvenv.cfg", "CACHEDIR.TAG", ".gitignore", ".lock", "lib64"):
        (environment / name).unlink(missing_ok=True)
    for script in (environment / "bin").iterdir():
        if re.fullmatch(r"python[0-9.]*|activate.*|deactivate.*|pydoc.bat", script.name):
            script.unlink()
    for scaffold in environment.glob("lib/python*/site-packages/_virtualenv*"):
        if scaffold.is_dir():
            shutil.rmtree(scaffold)
        else:
            scaffold.unlink()
