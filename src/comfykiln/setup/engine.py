"""A Docker engine that answers: the one that is there, or else one from the distribution.

An engine that works is never touched, wherever it runs. One is installed only on Debian and
Ubuntu, by root, with KILN_SETUP not set to "never"; anyone else is told what to do.
"""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import NotPossibleError
from comfykiln.setup import apt, daemon, trixie
from comfykiln.setup.checkout import Policy, policy_of
from comfykiln.system import console, process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOCK = Path("/run/comfykiln-setup.lock")
# Base images without a registry, for other users than root too; TLS to registries.
EXTRA = ("mmdebstrap", "uidmap", "ca-certificates")
PACKAGES = {
    "debian": ("docker.io", "docker-cli", "docker-buildx", "docker-compose", *EXTRA),
    "ubuntu": ("docker.io", "docker-buildx", "docker-compose-v2", *EXTRA),
}
FROM_TRIXIE = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "containerd")
PATIENCE = 30  # seconds for an engine that is there to say its version
OWN_ADDRESS = "unix:///var/run/docker.sock"
ANY_ENGINE = "install Docker Engine 26.1 or newer with buildx 0.13 or newer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """What asking for the engine gave: its version, or else the client's complaint."""

    version: str = ""
    complaint: str = ""
    remote: str = ""  # the address or context chosen by the person, when it is not this machine's


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The facts that decide what may be done about a missing engine."""

    distribution: apt.Distribution
    root: bool
    daemon_installed: bool
    policy: Policy


def ensure(policy: Policy | None = None) -> None:
    """Return when an engine answers, having installed or started one where that is allowed.

    `policy` is that of KILN_SETUP by default. Raises `NotPossibleError` with what to install or
    to run when no engine answers and none may be set up.
    """
    if probe().version:
        return
    chosen = policy_of(os.environ) if policy is None else policy
    machine = Machine(
        distribution=apt.distribution(),
        root=os.geteuid() == 0,
        daemon_installed=daemon.program() is not None,
        policy=chosen,
    )
    refuse(probe(), machine)
    with _alone():
        if not probe().version:
            _set_up(machine)


def probe() -> Engine:
    """Ask the docker client for the engine it is set to use.

    Raises `NotPossibleError` for an engine that is there and hangs: another one started beside it
    would be no help.
    """
    try:
        argv = ["docker", "version", "--format", "{{.Server.Version}}"]
        return Engine(version=process.capture(argv, timeout=PATIENCE).strip())
    except NotPossibleError:
        complaint = "the docker client is not installed"
        return Engine(complaint=complaint, remote=_chosen_host(os.environ))
    except process.ProgramError as error:
        return Engine(
            complaint=error.output.strip(),
            remote=_chosen_host(os.environ) or _chosen_context(),
        )
    except process.SilentProgramError as error:
        raise NotPossibleError(
            f"a Docker engine is there, but gave no answer within {PATIENCE} s",
            remedy="look at its log, and restart it (`systemctl restart docker`)",
        ) from error


def refuse(engine: Engine, machine: Machine) -> None:
    """Raise `NotPossibleError` unless this machine may be given an engine."""
    if engine.remote:
        raise NotPossibleError(
            f"the Docker engine at {engine.remote} does not answer:\n    {engine.complaint}",
            remedy="start that engine and install a docker client for it, or unset DOCKER_HOST "
            "and DOCKER_CONTEXT (`docker context use default`) to use one of this machine",
        )
    if "permission denied" in engine.complaint.lower():
        raise NotPossibleError(
            f"a Docker engine runs here, but you may not use it:\n    {engine.complaint}",
            remedy="run `sudo usermod -aG docker $USER`, log in again, and start the task again",
        )
    if not machine.distribution.has_packages and not machine.daemon_installed:
        name = machine.distribution.name or sys.platform
        raise NotPossibleError(
            f"no Docker engine answers here, and ./kiln installs one on Debian and Ubuntu only "
            f"(this is {name})",
            remedy=f"{ANY_ENGINE}, start it, and start the task again",
        )
    if machine.policy is not Policy.AUTO or not machine.root:
        raise NotPossibleError(_cause(engine, machine), remedy=_by_hand(machine))


def _cause(engine: Engine, machine: Machine) -> str:
    why = {
        Policy.NEVER: "KILN_SETUP=never forbids to set one up",
        Policy.UNSAID: "only ./kiln sets one up",
        Policy.AUTO: "only root can set one up",
    }[machine.policy]
    return f"no Docker engine answers here, and {why}:\n    {engine.complaint}"


def _by_hand(machine: Machine) -> str:
    """Return the commands that a person runs instead of ./kiln."""
    if machine.policy is Policy.UNSAID and machine.root:
        return "start the task with ./kiln"
    command = f"sudo {sys.executable} -P -m comfykiln.setup engine"
    group = "`sudo usermod -aG docker $USER`; then log in again"
    if machine.policy is not Policy.NEVER:
        return f"run `{command}`, which says each thing it changes, and {group}"
    if machine.daemon_installed:
        return "start the Docker daemon (`systemctl start docker`, or `dockerd` as root)"
    packages = " ".join(PACKAGES[machine.distribution.id])
    where = " from Debian 13 (docs/setup.md has the pins)" if _needs_trixie(machine) else ""
    return f"install these packages{where}: {packages}; start dockerd; or allow ./kiln to do it"


def _set_up(machine: Machine) -> None:
    if not machine.daemon_installed:
        with console.timed("installing a Docker engine: none answers here"):
            _install(machine)
    with console.timed("starting the Docker daemon"):
        daemon.start()
    engine = probe()
    process.capture(["docker", "buildx", "version"])
    console.note(f"Docker engine {engine.version} answers")


def _install(machine: Machine) -> None:
    """Install and configure, or leave the machine's settings as they were."""
    packages = PACKAGES[machine.distribution.id]
    with ExitStack() as undo:
        daemon.configure(undo=undo)
        if _needs_trixie(machine):
            trixie.allow(FROM_TRIXIE, undo=undo)
            apt.update(machine.distribution.codename, "trixie")
        else:
            apt.update(machine.distribution.codename)
        console.note(f"installing {' '.join(packages)}")
        apt.install(packages, may_upgrade=FROM_TRIXIE)
        console.note(f"changed: installed {' '.join(packages)} and what they need")
        undo.pop_all()


def _needs_trixie(machine: Machine) -> bool:
    return machine.distribution.codename == "bookworm" and machine.distribution.id == "debian"


def _chosen_host(environ: Mapping[str, str]) -> str:
    """Return the address in DOCKER_HOST, or nothing when it is this machine's own engine."""
    host = environ.get("DOCKER_HOST", "")
    return "" if host == OWN_ADDRESS else host


def _chosen_context() -> str:
    """Return the docker context that somebody chose, or nothing for the default one."""
    context = process.capture(["docker", "context", "show"]).strip()
    return "" if context == "default" else f"context {context}"


@contextmanager
def _alone() -> Iterator[None]:
    """Wait for another ./kiln that sets this machine up at the same time."""
    with LOCK.open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
