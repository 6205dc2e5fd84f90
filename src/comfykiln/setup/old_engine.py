"""An engine that is older than what builds were tried with, and how a person gets a newer one."""

from __future__ import annotations

import os
from pathlib import Path

from comfykiln.errors import NotPossibleError
from comfykiln.setup import apt, daemon
from comfykiln.setup.engine_info import OLDEST_ENGINE, version_of
from comfykiln.system import process

PACKAGE = "docker.io"  # Debian's and Ubuntu's


def version() -> str:
    """Return the version of this machine's dockerd where that is too old, else nothing."""
    program = daemon.program()
    if program is None:
        return ""
    try:
        said = process.capture([program, "--version"], timeout=30)
    except process.ProgramError:
        return ""
    found = version_of(said)
    return ".".join(map(str, found)) if found and found < OLDEST_ENGINE else ""


def too_old(found: str, *, remote: str = "") -> NotPossibleError:
    """Return the error for the engine of version `found`, at `remote` unless it is this machine's.

    Where the distribution's package holds it, ./kiln installs a newer one in its place, once a
    person has removed it: that ends the containers of an engine that runs.
    """
    wanted = ".".join(map(str, OLDEST_ENGINE))
    by_hand = f"upgrade to {wanted} or newer (docs/setup.md)"
    return NotPossibleError(
        f"Docker Engine is {found}, older than {wanted}",
        remedy=by_hand if remote or not _is_packaged() else _replacing(),
    )


def _is_packaged() -> bool:
    """Tell whether this machine's dockerd came in the distribution's package."""
    program = daemon.program()
    if program is None or not apt.distribution().has_packages:
        return False
    try:
        owner = apt.run(["dpkg-query", "--search", str(Path(program).resolve())])
    except process.ProgramError:
        return False
    return owner.startswith(f"{PACKAGE}:")


def _replacing() -> str:
    sudo = "" if os.geteuid() == 0 else "sudo "
    commands = [f"{sudo}apt-get remove {PACKAGE}"]
    if not daemon.SYSTEMD.is_dir() and daemon.PID.exists():
        # Without a service manager, the removal of the package does not end the daemon.
        commands.append(f"{sudo}kill $(cat {daemon.PID})")
    typed = " and ".join(f"`{command}`" for command in commands)
    return (
        f"run {typed}, which stops its containers and keeps its images and volumes; then start "
        "the task with ./kiln, which installs a newer one"
    )
