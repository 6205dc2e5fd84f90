"""A Docker engine that answers, and buildx: what is there, else what the distribution has.

An engine that works is never touched, wherever it runs. What is missing is installed only on
Debian and Ubuntu, by root, with KILN_SETUP not set to "never"; anyone else is told what to do.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import NotPossibleError
from comfykiln.setup import apt, daemon, engine_info, old_engine, trixie
from comfykiln.setup.checkout import Policy, policy_of
from comfykiln.setup.engine_info import OLDEST_BUILDX, OLDEST_ENGINE, version_of
from comfykiln.system import console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfykiln.setup.engine_info import EngineInfo

LOCK = Path("/run/comfykiln-setup.lock")
# The package of each part; Ubuntu's docker.io holds the client, too.
PACKAGES = {
    "debian": {
        "daemon": "docker.io",
        "client": "docker-cli",
        "buildx": "docker-buildx",
        "compose": "docker-compose",
    },
    "ubuntu": {
        "daemon": "docker.io",
        "client": "docker.io",
        "buildx": "docker-buildx",
        "compose": "docker-compose-v2",
    },
}
# With an engine of ours: base images without a registry; TLS to registries.
EXTRA = ("mmdebstrap", "ca-certificates")
FOR_USERS = "uidmap"  # what mmdebstrap needs for anyone but root
FROM_TRIXIE = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "containerd")
# What a running engine consists of, from Debian, Ubuntu or Docker; replacing it would restart it.
IN_USE = ("docker.io", "containerd", "runc", "docker-ce", "containerd.io")
ANY_ENGINE = "install Docker Engine 26.1 or newer with buildx 0.13 or newer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The facts that decide what may be done about a missing engine."""

    distribution: apt.Distribution
    root: bool
    daemon_installed: bool
    policy: Policy
    remote: str = ""  # the address or context chosen by the person, when it is not this machine's
    for_user: bool = False  # whether somebody else than root will build here
    old_daemon: str = ""  # the version of a daemon that is installed and too old


def ensure(policy: Policy | None = None) -> None:
    """Return when an engine and buildx answer, having installed or started what may be.

    `policy` is that of KILN_SETUP by default. Raises `NotPossibleError` with what to install or
    to run when something is missing and may not be set up. An engine that answers and is too old
    is left to whoever asks it for work.
    """
    info = engine_info.ask()
    if is_enough(info):
        return
    if info.remedy:  # a docker command that is not Docker's, or that cannot be started
        raise NotPossibleError(info.complaint, remedy=info.remedy)
    machine = _machine(policy_of(os.environ) if policy is None else policy)
    refuse(info, machine)
    with _alone():
        info = engine_info.ask()
        if not is_enough(info):
            _set_up(info, machine)


def is_enough(info: EngineInfo) -> bool:
    """Tell whether there is nothing to set up: all is there, or an old engine is in the way."""
    too_old = info.answers and version_of(info.version) < OLDEST_ENGINE
    return too_old or (info.answers and info.buildx >= OLDEST_BUILDX)


def _machine(policy: Policy) -> Machine:
    return Machine(
        distribution=apt.distribution(),
        root=os.geteuid() == 0,
        daemon_installed=daemon.program() is not None,
        policy=policy,
        remote=engine_info.chosen(os.environ),
        for_user=os.geteuid() != 0 or os.environ.get("SUDO_UID", "0") != "0",
        old_daemon=old_engine.version(),
    )


def refuse(info: EngineInfo, machine: Machine) -> None:
    """Raise `NotPossibleError` unless this machine may be given what it lacks."""
    if machine.remote and not info.answers:
        raise NotPossibleError(
            f"the Docker engine at {machine.remote} does not answer:\n    {info.complaint}",
            remedy="start that engine and install a docker client for it, or unset DOCKER_HOST "
            "and DOCKER_CONTEXT (`docker context use default`) to use one of this machine",
        )
    if info.forbidden:
        raise engine_info.not_allowed(info)
    if machine.old_daemon and not info.answers:
        # To complete it and to start it would be in vain.
        raise old_engine.too_old(machine.old_daemon)
    if not machine.distribution.has_packages and missing(info, machine):
        name = machine.distribution.name or sys.platform
        raise NotPossibleError(
            f"{_lack(info)}, and ./kiln installs it on Debian and Ubuntu only (this is {name})",
            remedy=f"{ANY_ENGINE}, start it, and start the task again",
        )
    if machine.policy is not Policy.AUTO or not machine.root:
        raise NotPossibleError(_cause(info, machine), remedy=_by_hand(info, machine))


def missing(info: EngineInfo, machine: Machine) -> list[str]:
    """Return the parts of an engine that are not installed, in the order of `PACKAGES`.

    compose serves people who use compose.yaml: it comes with a daemon, never by itself.
    """
    daemon_missing = not info.answers and not machine.daemon_installed
    lacking = {
        "daemon": daemon_missing,
        "client": not info.client,
        "buildx": info.buildx < OLDEST_BUILDX,
        "compose": daemon_missing and not info.plugins.get("compose"),
    }
    return [part for part, lacks in lacking.items() if lacks]


def packages_for(info: EngineInfo, machine: Machine) -> list[str]:
    """Return the packages of this distribution that bring what is missing, in a fixed order."""
    parts = missing(info, machine)
    own = [PACKAGES[machine.distribution.id][part] for part in parts]
    extra = [*EXTRA, FOR_USERS] if machine.for_user else [*EXTRA]
    return list(dict.fromkeys([*own, *(extra if "daemon" in parts else [])]))


def _to_install(info: EngineInfo, machine: Machine) -> list[str]:
    """Return the packages to name to apt, which upgrades what it is named: what serves stays."""
    have = apt.installed()
    serving = {name for name in (*EXTRA, FOR_USERS) if name in have}
    return [name for name in packages_for(info, machine) if name not in serving]


def _lack(info: EngineInfo) -> str:
    if not info.answers:
        return "no Docker engine answers here"
    return "the docker command here has no buildx 0.13 or newer"


def _cause(info: EngineInfo, machine: Machine) -> str:
    why = {
        Policy.NEVER: "KILN_SETUP=never forbids to set it up",
        Policy.UNSAID: "only ./kiln sets it up",
        Policy.AUTO: "only root can set it up",
    }[machine.policy]
    complaint = f":\n    {info.complaint}" if info.complaint else ""
    return f"{_lack(info)}, and {why}{complaint}"


def _by_hand(info: EngineInfo, machine: Machine) -> str:
    """Return the commands that a person runs instead of ./kiln."""
    if machine.policy is Policy.UNSAID and machine.root:
        return "start the task with ./kiln"
    command = f"sudo {sys.executable} -P -m comfykiln.setup engine"
    if machine.policy is not Policy.NEVER:
        if info.answers:
            return f"run `{command}`, which says each thing it changes"
        group = "`sudo usermod -aG docker $USER`; then log in again"
        return f"run `{command}`, which says each thing it changes, and {group}"
    packages = " ".join(packages_for(info, machine))
    start = "start the Docker daemon (`systemctl start docker`, or `dockerd` as root)"
    if not packages:
        return start
    where = " from Debian 13 (docs/setup.md has the pins)" if _needs_trixie(machine) else ""
    then = "" if info.answers else "; start dockerd"
    return f"install these packages{where}: {packages}{then}; or allow ./kiln to do it"


def _set_up(info: EngineInfo, machine: Machine) -> None:
    if packages_for(info, machine):
        with console.timed(f"installing what is missing: {_lack(info)}"):
            _install(info, machine)
    if not engine_info.ask().answers:
        with console.timed("starting the Docker daemon"):
            daemon.start()
    _check(engine_info.ask(), machine)


def _check(info: EngineInfo, machine: Machine) -> None:
    """Raise `NotPossibleError` unless the docker command really finds what was installed."""
    if not info.client or not info.answers:
        raise daemon.silent(f"    {info.complaint}")
    if info.buildx < OLDEST_BUILDX and version_of(info.version) >= OLDEST_ENGINE:
        package = PACKAGES[machine.distribution.id]["buildx"]
        raise NotPossibleError(
            f"{package} is installed, but {shutil.which('docker')} does not find it",
            remedy="remove that docker command, or put /usr/bin before its folder in PATH",
        )
    console.note(f"Docker engine {info.version} answers")


def _install(info: EngineInfo, machine: Machine) -> None:
    """Install and configure, or leave the machine's settings as they were."""
    packages = _to_install(info, machine)
    release = [machine.distribution.codename]
    with ExitStack() as undo:
        if "daemon" in missing(info, machine):
            daemon.configure(undo=undo)
        if _needs_trixie(machine):
            trixie.allow(_of_trixie(packages), undo=undo)
            release.append("trixie")
        apt.update(*release)
        console.note(f"installing {' '.join(packages)}")
        in_use = IN_USE if info.answers or machine.daemon_installed else ()
        apt.install(packages, anywhere=FROM_TRIXIE, untouched=in_use)
        undo.pop_all()


def _of_trixie(packages: list[str]) -> list[str]:
    """Return what may come from Debian 13 for `packages`: a daemon brings its containerd."""
    wanted = {*packages, "containerd"} if "docker.io" in packages else set(packages)
    return [name for name in FROM_TRIXIE if name in wanted]


def _needs_trixie(machine: Machine) -> bool:
    return machine.distribution.codename == "bookworm" and machine.distribution.id == "debian"


@contextmanager
def _alone() -> Iterator[None]:
    """Wait for another ./kiln that sets this machine up at the same time."""
    with LOCK.open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
