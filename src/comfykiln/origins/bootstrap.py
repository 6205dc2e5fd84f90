"""A Debian root file system made by mmdebstrap from this host's apt sources, bit-reproducible."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import tarfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.engine import disk
from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.network.client import UnavailableError
from comfykiln.origins import apt
from comfykiln.origins.archive import pieces
from comfykiln.system import console, files, process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfykiln.network.access import Access
    from comfykiln.plan.origins import BaseSpec
    from comfykiln.system.store import Store

# Every file of the root file system is at most this old, in seconds.
EPOCH = 1_760_000_000
# Bytes of the folder that mmdebstrap unpacks into, packages and lists included; measured: 0.4 GB.
ROOM = 600_000_000
# Counted up when the recipe below changes what comes out.
RECIPE = 3
# What the slim images of Debian go without.
DPKG_OPTIONS = (
    *("path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright"),
    *("path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*"),
    *("path-exclude=/usr/share/groff/*", "path-exclude=/usr/share/linda/*"),
    *("path-exclude=/usr/share/lintian/*", "path-exclude=/usr/share/locale/*"),
    "path-include=/usr/share/locale/locale.alias",
)
APT_OPTIONS = ('Acquire::Languages "none"', 'APT::AutoRemove::SuggestsImportant "false"')
# What belongs to this host, or to no image: addresses (they come to each step as a secret), names.
FORGET = (
    'rm -rf "$1/etc/hostname" "$1/etc/apt/apt.conf.d/00kiln-network" '
    '"$1/etc/apt/sources.list" "$1"/etc/apt/sources.list.d/* "$1"/var/cache/debconf/*-old; '
    # An engine mounts over these while a step runs. Where it must make the place for a mount
    # itself, the folder above gets the time of that step, and the layer another digest each time.
    ': >"$1/etc/resolv.conf"; : >"$1/etc/hosts"'
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rootfs:
    """A bootstrapped root file system: the sha256 of its tar, its suite, when it was made.

    `packages` are `name=version` lines of everything installed, sorted; `made` is a date, Y-m-d.
    """

    sha256: str
    suite: str
    made: str
    packages: tuple[str, ...]

    @property
    def age(self) -> float:
        """Days since it was made."""
        made = time.mktime(time.strptime(self.made, "%Y-%m-%d"))
        return max(0.0, (time.time() - made) / 86_400)


def bootstrapped(spec: BaseSpec, access: Access) -> Rootfs:
    """Return the root file system that stands for `spec`, made only where the store lacks it.

    Raises `UnavailableError` when it cannot be made here, `KilnError` when what came out is not
    the Debian that `spec` describes.
    """
    store = access.store
    note = store.root / "base" / f"{_key(spec)}.json"
    with store.lock(f"base-{note.stem}"):
        kept = _rootfs_in_store(note, store)
        if kept is not None:
            return kept
        with (
            console.timed(f"bootstrapping Debian {spec.suite} from this host's apt sources"),
            store.scratch(f"base-{note.stem}") as work,
        ):
            tar = _run(spec, work, access)
            rootfs = _examined(spec, tar)
            store.put(pieces(tar), rootfs.sha256, source=f"mmdebstrap {spec.suite}")
        files.write_bytes(note, files.canonical_json(asdict(rootfs)))
    return rootfs


def note_of(spec: BaseSpec, store: Store) -> Path:
    """Return the file whose removal makes the next build bootstrap anew."""
    return store.root / "base" / f"{_key(spec)}.json"


def _key(spec: BaseSpec) -> str:
    """Return what a kept root file system is found by: a new pin of the base makes a new one."""
    parts = [RECIPE, spec.ref, spec.suite, *spec.include, architecture()]
    return f"{spec.suite}-{files.sha256(files.canonical_json(parts))[:16]}"


def architecture() -> str:
    """Return the name that Debian and Docker have for this host's architecture."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _rootfs_in_store(note: Path, store: Store) -> Rootfs | None:
    import json  # noqa: PLC0415  # only for a kept one

    if not note.is_file():
        return None
    raw = json.loads(note.read_bytes())
    rootfs = Rootfs(**{**raw, "packages": tuple(raw["packages"])})
    return rootfs if store.path(rootfs.sha256).is_file() else None


def _run(spec: BaseSpec, work: Path, access: Access) -> Path:
    _require_tools()
    _require_room()
    sources, network = work / "sources.list", work / "00kiln-network"
    known, conf = apt.debian_sources(spec.suite), apt.network_conf(access.settings)
    apt.require_answer(known, conf, access.settings, access.patience)
    files.write_text(sources, known, mode=0o600)
    files.write_text(network, conf, mode=0o600)
    tar = work / "rootfs.tar"
    lines: list[str] = []
    try:
        process.stream(command(spec, sources, network, tar), lines.append, env=_environment())
    except process.ProgramError as error:
        faults = [line for line in lines if line.startswith(("E:", "Err:"))] or lines[-5:]
        if any("chroot mode" in line for line in faults):
            faults.append("for another user than root it needs the package uidmap")
        # An address may hold a password.
        detail = re.sub(r"//[^/@\s]+@", "//", "\n    ".join(faults))
        raise UnavailableError(f"mmdebstrap {spec.suite} failed:\n    {detail}") from error
    _add_dev(tar)
    return tar


def _require_room() -> None:
    """Raise `NotPossibleError` when the folder that mmdebstrap works in is missing or too full."""
    folder = Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108  # the place mmdebstrap takes
    if not folder.is_dir():
        raise NotPossibleError(f"TMPDIR: there is no folder {folder}", remedy="name one, or none")
    disk.require_room(folder, ROOM, "bootstrapping a base", ", or set TMPDIR")


def _add_dev(tar: Path) -> None:
    """Add the empty folder /dev, a place to mount on, without the device files of a bootstrap.

    From version 1.4 on mmdebstrap leaves the folder there, and the older image store (overlay2)
    takes no layer that names a path twice.
    """
    with tarfile.open(tar, "r:") as archive:
        if "./dev" in archive.getnames():
            return
    with tarfile.open(tar, "a") as archive:
        folder = tarfile.TarInfo("./dev")
        folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, EPOCH
        archive.addfile(folder)


def command(spec: BaseSpec, sources: Path, network: Path, tar: Path) -> list[str]:
    """Return the mmdebstrap command line; addresses travel in files: they may hold secrets."""
    copy = f"copy-in {shlex.quote(str(network))} /etc/apt/apt.conf.d"
    return [
        *("mmdebstrap", "--variant=minbase", "--format=tar", "--skip=output/dev"),
        *([f"--include={','.join(spec.include)}"] if spec.include else []),
        *(f"--dpkgopt={option}" for option in DPKG_OPTIONS),
        *(f"--aptopt={option}" for option in APT_OPTIONS),
        *(f"--setup-hook={copy}", f"--customize-hook={FORGET}"),
        *(spec.suite, str(tar), str(sources)),
    ]


def _environment() -> dict[str, str]:
    return dict(os.environ) | {"SOURCE_DATE_EPOCH": str(EPOCH), "LC_ALL": "C.UTF-8"}


def _require_tools() -> None:
    if shutil.which("mmdebstrap") is None:
        raise UnavailableError("mmdebstrap is not installed (apt-get install mmdebstrap)")
    if not apt.KEYRING.is_file():
        raise UnavailableError(
            f"{apt.KEYRING} is missing (apt-get install debian-archive-keyring, on Ubuntu too)"
        )


def _examined(spec: BaseSpec, tar: Path) -> Rootfs:
    """Look into the tar: the suite, the packages asked for, its Python; return what it holds."""
    release, status = _members(tar, "./usr/lib/os-release", "./var/lib/dpkg/status")
    packages = _packages(status)
    faults = [f"{name} is not installed" for name in spec.include if name not in packages]
    if f"VERSION_CODENAME={spec.suite}" not in release.splitlines():
        faults.append(f"its os-release does not name {spec.suite}")
    python = packages.get("python3", f"{spec.python}.")
    if not python.startswith(f"{spec.python}."):
        faults.append(f"its python3 is {python}, not {spec.python}")
    if faults:
        raise KilnError(
            f"mmdebstrap reported success, but {'; '.join(faults)}",
            remedy="look at this host's apt sources, and at images/origins.yaml",
        )
    return Rootfs(
        sha256=files.sha256_file(tar),
        suite=spec.suite,
        made=time.strftime("%Y-%m-%d"),
        packages=tuple(sorted(f"{name}={version}" for name, version in packages.items())),
    )


def _members(tar: Path, *names: str) -> list[str]:
    try:
        with tarfile.open(tar, "r:") as archive:
            found = [archive.extractfile(name) for name in names]
            return [file.read().decode() if file else "" for file in found]
    except (tarfile.TarError, KeyError) as error:
        raise KilnError(
            f"mmdebstrap reported success, but its tar cannot be read: {error}",
            remedy="look at the free space of the disk that holds the store and of /tmp",
        ) from error


def _packages(status: str) -> dict[str, str]:
    """Return name → version of everything that dpkg's status file calls installed."""
    entries: Sequence[str] = status.split("\n\n")
    fields = [dict(_fields(entry)) for entry in entries]
    return {
        entry["Package"]: entry["Version"]
        for entry in fields
        if entry.get("Status") == "install ok installed"
    }


def _fields(entry: str) -> list[tuple[str, str]]:
    lines = [line for line in entry.splitlines() if line[:1].strip() and ": " in line]
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


def require_engine_architecture(engine: str) -> None:
    """Raise `NotPossibleError` when the engine runs another architecture than this host."""
    here = architecture()
    if engine != here:
        raise NotPossibleError(
            f"the engine is {engine}, this host {here}: a base bootstrapped here cannot run there",
            remedy="fix the way to the registry, or build on a machine like the engine's",
        )
