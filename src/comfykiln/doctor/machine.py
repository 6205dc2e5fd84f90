"""What this machine is: facts read from the engine, the devices, the tools and the disk."""

from __future__ import annotations

import grp
import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln.doctor.answers import Answer, reach_origins
from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.git import command
from comfykiln.network import pip
from comfykiln.network.indexes import uv_program
from comfykiln.setup import engine_info
from comfykiln.setup.engine_info import EngineInfo, Version, version_of
from comfykiln.system.process import capture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONTAINERD_STORE = "io.containerd.snapshotter.v1"
CONTAINERD_DATA = Path("/var/lib/containerd")  # where an engine with a containerd of its own keeps
CDI_FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
RENDER_NODES = Path("/sys/class/drm")
DEVICES = Path("/dev")
IMAGES = ("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
VENDORS = {"0x1002": "amd", "0x10de": "nvidia", "0x8086": "intel"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """What `docker info` says of the engine it reaches; sizes in bytes."""

    version: Version
    system: str
    containerd_store: bool
    storage: str  # name of the storage driver or snapshotter
    data_root: Path
    free: int | None  # None where the folder is not on this machine
    memory: int
    cpus: int
    runtimes: tuple[str, ...]
    rootless: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Devices:
    """Accelerators as a container would need them."""

    nvidia_gpus: tuple[str, ...] = ()
    nvidia_driver: Version = ()
    nvidia_cdi: bool = False
    kfd: bool = False  # /dev/kfd, the compute device of AMD
    render_nodes: tuple[tuple[str, str], ...] = ()  # (device path, vendor)
    groups: tuple[tuple[str, int], ...] = ()  # (name, gid) of those that own the devices


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Every fact that `doctor` judges; an empty string or tuple means: not there."""

    engine: Engine | None
    engine_complaint: str
    buildx: Version
    compose: Version
    cpus: int
    memory: int  # bytes
    python: Version
    git: Version
    uv: Version
    images: tuple[str, ...]  # names with tags of those the engine has
    mmdebstrap: bool
    newuidmap: bool  # or root, who needs none: mmdebstrap works in a namespace of users
    apt: bool
    devices: Devices
    reach: tuple[Answer, ...]
    ca_bundle: Path | None
    ca_bundle_readable: bool
    proxies: tuple[str, ...]  # without their passwords


def read_machine(
    addresses: Mapping[str, str], *, environ: Mapping[str, str] = os.environ
) -> Machine:
    """Read all facts; takes as long as the slowest origin may (a few seconds at most).

    `addresses` are the origins to ask, by the name they are reported under.
    """
    settings = pip.pip_settings(environ)
    bundle = pip.ca_bundle(environ, settings)
    info = _engine_info()
    return Machine(
        engine=engine_of(info.facts) if info.answers else None,
        engine_complaint=info.complaint,
        buildx=info.buildx,
        compose=info.plugins.get("compose", ()),
        cpus=os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=version_of(platform.python_version()),
        git=version_of(_git_version()),
        uv=version_of(_ask([uv_program(), "--version"])),
        images=tuple(_ask(IMAGES).split()) if info.answers else (),
        mmdebstrap=shutil.which("mmdebstrap") is not None,
        newuidmap=os.geteuid() == 0 or shutil.which("newuidmap") is not None,
        apt=shutil.which("apt-get") is not None,
        devices=read_devices(),
        reach=reach_origins(addresses, environ, settings, bundle),
        ca_bundle=bundle,
        ca_bundle_readable=bundle is not None and os.access(bundle, os.R_OK),
        proxies=tuple(without_password(f"{k}={v}") for k, v in pip.proxies(environ).items()),
    )


def engine_of(information: Mapping[str, Any]) -> Engine:
    """Return the facts of the engine from what `docker info` printed as JSON."""
    status = dict(information.get("DriverStatus") or [])
    root = Path(information["DockerRootDir"])
    containerd = status.get("driver-type") == CONTAINERD_STORE
    return Engine(
        version=version_of(information["ServerVersion"]),
        system=f"{information['OperatingSystem']}, {information['Architecture']}",
        containerd_store=containerd,
        storage=information["Driver"],
        data_root=root,
        free=free_bytes([root, CONTAINERD_DATA] if containerd else [root]),
        memory=information["MemTotal"],
        cpus=information["NCPU"],
        runtimes=tuple(sorted(information.get("Runtimes") or {})),
        rootless="name=rootless" in (information.get("SecurityOptions") or []),
    )


def free_bytes(folders: Sequence[Path]) -> int | None:
    """Return the least free space below those of `folders` that are on this machine, if any is."""
    there = [folder for folder in folders if folder.is_dir()]
    return min((shutil.disk_usage(folder).free for folder in there), default=None)


def read_devices(
    devices: Path = DEVICES, nodes: Path = RENDER_NODES, cdi: Sequence[Path] = CDI_FOLDERS
) -> Devices:
    """Read which accelerators this machine has and whether containers could be given them."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    gpus = [line.rpartition(", ") for line in _ask(query).splitlines() if ", " in line]
    return Devices(
        nvidia_gpus=tuple(name for name, _, _ in gpus),
        nvidia_driver=version_of(gpus[0][2]) if gpus else (),
        nvidia_cdi=any(path.name.startswith("nvidia") for f in cdi for path in f.glob("*")),
        kfd=os.access(devices / "kfd", os.R_OK | os.W_OK),
        render_nodes=tuple(
            (str(devices / "dri" / node.name), _vendor(node))
            for node in sorted(nodes.glob("render*"))
            if (devices / "dri" / node.name).exists()
        ),
        groups=tuple(
            (entry.gr_name, entry.gr_gid)
            for entry in grp.getgrall()
            if entry.gr_name in {"render", "video"}
        ),
    )


def without_password(address: str) -> str:
    """Return `NAME=address` with everything before the last `@`, user and password, as stars."""
    return re.sub(r"=(\w+://)?.*@", r"=\1***@", address)


def _vendor(node: Path) -> str:
    identity = node / "device/vendor"
    known = identity.read_text(encoding="ascii").strip() if identity.is_file() else ""
    return VENDORS.get(known, known or "unknown")


def _engine_info() -> EngineInfo:
    """Return what the docker client says; an engine that hangs is a complaint, too."""
    try:
        return engine_info.ask()
    except NotPossibleError as error:
        return EngineInfo(complaint=error.message)


def _git_version() -> str:
    """Return what git says of itself, or nothing where it is missing."""
    try:
        return command.version()
    except KilnError:
        return ""


def _ask(argv: Sequence[str]) -> str:
    """Return what a program prints, or nothing when it is missing or fails: that is the fact."""
    try:
        return capture(argv, timeout=20).strip()
    except KilnError:
        return ""
