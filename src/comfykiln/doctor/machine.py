"""What this machine is: facts read from the engine, the devices, the tools and the disk."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln.doctor.answers import Answer, reach_origins
from comfykiln.doctor.devices import Devices, read_devices
from comfykiln.doctor.needs import addresses
from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.git import command
from comfykiln.network import pip
from comfykiln.network.client import UnavailableError
from comfykiln.network.indexes import uv_program
from comfykiln.origins import apt
from comfykiln.setup import engine_info
from comfykiln.setup.engine_info import Version, version_of
from comfykiln.system.process import capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from comfykiln.doctor.needs import Needs

CONTAINERD_STORE = "io.containerd.snapshotter.v1"
CONTAINERD_DATA = Path("/var/lib/containerd")  # where an engine with a containerd of its own keeps
UNSHARE = ("mmdebstrap", "--unshare-helper", "true")  # tries what it does for others than root
PATIENCE = 20  # seconds for a program to say its version
IMAGES = ("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """What `docker info` says of the engine it reaches; sizes in bytes, 0 where it says none."""

    version: Version
    system: str
    architecture: str
    here: bool  # whether it runs on this machine: its devices and its disk can be seen
    containerd_store: bool
    storage: str  # name of the storage driver or snapshotter
    data_root: Path
    free: int | None  # None where it cannot be seen
    memory: int
    cpus: int
    runtimes: tuple[str, ...]
    rootless: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Every fact that `doctor` judges; an empty string or tuple means: not there.

    The version of a program is None where there is no such program, empty where it tells none.
    """

    engine: Engine | None
    engine_complaint: str
    engine_remedy: str  # against the complaint, where it is a known one
    buildx: Version | None
    compose: Version | None
    cpus: int
    memory: int  # bytes
    python: Version
    git: Version | None
    uv: Version | None
    images: tuple[str, ...]  # names with tags of those the engine has
    mmdebstrap: bool
    newuidmap: bool  # or root, who needs none: mmdebstrap works in a namespace of users
    mmdebstrap_fault: str  # why it could make no base all the same, or empty
    apt: bool
    devices: Devices
    reach: tuple[Answer, ...]
    ca_bundle: Path | None
    ca_bundle_fault: str
    proxies: tuple[str, ...]  # without their passwords


def read_machine(needs: Sequence[Needs], *, environ: Mapping[str, str] = os.environ) -> Machine:
    """Read all facts that what the targets need is judged by.

    It takes as long as the slowest origin may (a few seconds at most).
    """
    settings = pip.pip_settings(environ)
    bundle = pip.ca_bundle(environ, settings)
    info = engine_info.told()
    newuidmap = os.geteuid() == 0 or shutil.which("newuidmap") is not None
    mmdebstrap = shutil.which("mmdebstrap") is not None
    return Machine(
        engine=engine_of(info.facts, here=is_here(info.facts, environ)) if info.answers else None,
        engine_complaint=info.complaint,
        engine_remedy=info.remedy,
        buildx=info.plugins.get("buildx"),
        compose=info.plugins.get("compose"),
        cpus=os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=version_of(platform.python_version()),
        git=version_by(command.version),
        uv=program_version([uv_program(), "--version"]),
        images=tuple(_ask(IMAGES).split()) if info.answers else (),
        mmdebstrap=mmdebstrap,
        newuidmap=newuidmap,
        mmdebstrap_fault=why_no_base(need.suite for need in needs) if mmdebstrap else "",
        apt=shutil.which("apt-get") is not None,
        devices=read_devices(need.accelerator for need in needs),
        reach=reach_origins(addresses(needs), environ, settings, bundle),
        ca_bundle=bundle,
        ca_bundle_fault="" if bundle is None else ca_bundle_fault(bundle),
        proxies=tuple(without_password(f"{k}={v}") for k, v in pip.proxies(environ).items()),
    )


def engine_of(information: Mapping[str, Any], *, here: bool) -> Engine:
    """Return the facts of the engine from what `docker info` printed as JSON."""
    status = dict(information.get("DriverStatus") or [])
    root = Path(information.get("DockerRootDir") or "unknown")
    containerd = status.get("driver-type") == CONTAINERD_STORE
    return Engine(
        version=version_of(information["ServerVersion"]),
        system=str(information.get("OperatingSystem") or information.get("OSType") or "unknown"),
        architecture=str(information.get("Architecture") or ""),
        here=here,
        containerd_store=containerd,
        storage=str(information.get("Driver") or "unknown"),
        data_root=root,
        free=free_bytes([root, CONTAINERD_DATA] if containerd else [root]) if here else None,
        memory=information.get("MemTotal") or 0,
        cpus=information.get("NCPU") or 0,
        runtimes=tuple(sorted(information.get("Runtimes") or {})),
        rootless="name=rootless" in (information.get("SecurityOptions") or []),
    )


def is_here(information: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Tell whether the engine surely runs on this very machine, whose disk and devices it has.

    One that is reached by a network, in a virtual machine or from inside a container has another
    host's name, or keeps its data where nothing is to be seen from here.
    """
    local = environ.get("DOCKER_HOST", "unix://").startswith("unix://")
    same = information.get("Name") == socket.gethostname()
    return local and same and os.path.isdir(information.get("DockerRootDir") or "")  # noqa: PTH112  # pathlib's raises where it may not look


def free_bytes(folders: Sequence[Path]) -> int | None:
    """Return the least free space below those of `folders` that are on this machine, if any is."""
    there = [folder for folder in folders if os.path.isdir(folder)]  # noqa: PTH112  # the same
    return min((shutil.disk_usage(folder).free for folder in there), default=None)


def program_version(argv: Sequence[str]) -> Version | None:
    """Return the version that a program prints, None where there is no such program."""
    return version_by(lambda: capture(argv, timeout=PATIENCE))


def version_by(ask: Callable[[], str]) -> Version | None:
    """Return the version in what `ask` returns, None where its program is not there."""
    try:
        return version_of(ask())
    except NotPossibleError:
        return None
    except KilnError:
        return ()


def why_no_base(suites: Iterable[str]) -> str:
    """Return why mmdebstrap could make no base of these Debian releases here, or nothing."""
    if not apt.KEYRING.is_file():
        return f"{apt.KEYRING} is missing (the package debian-archive-keyring)"
    if os.geteuid() != 0 and shutil.which("newuidmap") and not _works(UNSHARE):
        return "this user may make no namespace of users (/etc/subuid, sysctl kernel.*userns*)"
    try:
        for suite in sorted(set(suites)):
            apt.debian_sources(suite)
    except UnavailableError as error:
        return error.message
    except KilnError:
        return "apt-get tells no sources"
    return ""


def ca_bundle_fault(bundle: Path) -> str:
    """Return why no connection can be checked against the CA bundle, or nothing."""
    try:
        context = ssl.create_default_context(cafile=str(bundle))
    except (OSError, ssl.SSLError) as error:
        return str(error)
    return "" if context.cert_store_stats()["x509_ca"] else "holds no certificate of a CA"


def without_password(address: str) -> str:
    """Return `NAME=address` with everything before the last `@`, user and password, as stars."""
    return re.sub(r"=(\w+://)?.*@", r"=\1***@", address)


def _works(argv: Sequence[str]) -> bool:
    try:
        capture(argv, timeout=PATIENCE)
    except KilnError:
        return False
    return True


def _ask(argv: Sequence[str]) -> str:
    """Return what a program prints, or nothing when it is missing or fails: that is the fact."""
    try:
        return capture(argv, timeout=PATIENCE).strip()
    except KilnError:
        return ""
