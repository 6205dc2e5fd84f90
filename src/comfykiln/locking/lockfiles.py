"""The lock files of an image: written, read, and held against their inputs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfykiln import files
from comfykiln.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from comfykiln.locking.inputs import LockInputs
    from comfykiln.locking.solving import Solved
    from comfykiln.services import Service
    from comfykiln.targets import StandIn, Targets

ENTRY = re.compile(r"(?m)^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)")
REPLACED = re.compile(r"^# in place of ([a-z0-9-]+): ([a-z0-9-]+)$", re.MULTILINE)
INPUTS = re.compile(r"^# inputs: sha256:([0-9a-f]{64})$", re.MULTILINE)


def split(text: str, targets: Targets) -> tuple[str, str]:
    """Split a whole lock into (shared packages, torch row)."""
    shared: list[str] = []
    torch: list[str] = []
    for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", text):
        match = ENTRY.match(entry)
        if match:
            name = match["name"].lower().replace("_", "-")
            (torch if targets.is_accelerator_package(name) else shared).append(entry)
    return "".join(shared), "".join(torch)


def write_locks(
    service: Service, targets: Targets, inputs: LockInputs, solved: Solved, local: str
) -> None:
    """Write both locks of the image; `local` names the torch build (`cu130`) that was solved.

    The header of the package lock says which packages are built from source, and with what.
    """
    shared, torch = split(solved.text, targets)
    header = (
        f"# Made by `./kiln lock --image {service.name}`: hashed, without addresses.\n"
        f"# inputs: sha256:{inputs.digest}\n"
    )
    built = f"# sdists: {' '.join(inputs.sdists)}\n" if inputs.sdists else ""
    built += f"# build: {' '.join(solved.build)}\n" if solved.build else ""
    files.write_text(service.package_lock, header + built + _replaced(solved) + shared)
    files.write_text(service.torch_lock(local), header + torch)


def _replaced(solved: Solved) -> str:
    """Return remarks, which no build reads: what was asked for, and what is installed in place."""
    lines = (f"# in place of {name}: {by}\n" for name, by in sorted(solved.replaced.items()))
    return "".join(lines)


def previous(service: Service, local: str) -> str:
    """Return the entries of the image's present locks, whose versions a new solve prefers."""
    paths = (service.package_lock, service.torch_lock(local))
    return "".join(path.read_text("utf-8") for path in paths if path.is_file())


def is_locked(service: Service, inputs: LockInputs) -> bool:
    """Say whether the image has a lock that was made from these very inputs."""
    if not service.package_lock.is_file():
        return False
    match = INPUTS.search(service.package_lock.read_text("utf-8"))
    return match is not None and match[1] == inputs.digest


def check_locks(service: Service, inputs: LockInputs) -> None:
    """Raise `DriftError` when the committed lock was made from other inputs than today's."""
    command = f"`./kiln lock --image {service.name}`"
    if not service.package_lock.is_file():
        raise DriftError(f"{service.package_lock} does not exist", remedy=f"run {command}")
    _check_pins(service, inputs, command)
    match = INPUTS.search(service.package_lock.read_text("utf-8"))
    if match is None or match[1] != inputs.digest:
        raise DriftError(
            f"{service.package_lock} was made from other inputs than the image has now "
            "(requirements of ComfyUI, its Manager or a pack, the torch family, the Python)",
            remedy=f"run {command} and review the difference",
        )


def _check_pins(service: Service, inputs: LockInputs, command: str) -> None:
    """Tell the difference where the snapshot pins other versions than the lock has."""
    have = {_normalized(name): version for name, version in locked(service.package_lock).items()}
    wrong = []
    for line in inputs.constraints:
        name, _, version = line.partition("==")
        found = have.get(_normalized(name))
        if found is not None and found != version:
            wrong.append(f"{name}: the snapshot pins {version}, the lock holds {found}")
    if wrong:
        shown = "".join(f"\n  {line}" for line in wrong)
        raise DriftError(
            f"{service.snapshot} has drifted from {service.package_lock}:{shown}",
            remedy=f"run {command} and review the difference",
        )


def locked(path: Path) -> dict[str, str]:
    """Return name → version of every entry of a lock file."""
    text = path.read_text("utf-8")
    return {match["name"]: match["version"] for match in ENTRY.finditer(text)}


def stand_ins_in(path: Path, stand_ins: Mapping[str, StandIn]) -> dict[str, StandIn]:
    """Return those of the stand-ins that the lock says it holds in place of the other package."""
    told = set(REPLACED.findall(path.read_text("utf-8"))) if path.is_file() else set()
    return {name: one for name, one in stand_ins.items() if (name, one.by) in told}


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
