"""The lock files of an image: written, read, and held against their inputs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfykiln.errors import DriftError
from comfykiln.locking.headers import (
    PART,
    differences,
    header,
    is_as_written,
    is_made_from,
)
from comfykiln.parsing.values import normal_name
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from comfykiln.locking.inputs import LockInputs
    from comfykiln.locking.solving import Solved
    from comfykiln.plan.services import Service
    from comfykiln.plan.targets import StandIn, Targets

ENTRY = re.compile(r"(?m)^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)")
REPLACED = re.compile(r"^# in place of ([a-z0-9-]+): ([a-z0-9-]+)$", re.MULTILINE)


def split(text: str, targets: Targets) -> tuple[str, str]:
    """Split a whole lock into (shared packages, torch row)."""
    shared: list[str] = []
    torch: list[str] = []
    for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", text):
        match = ENTRY.match(entry)
        if match:
            name = normal_name(match["name"])
            (torch if targets.is_accelerator_package(name) else shared).append(entry)
    return "".join(shared), "".join(torch)


def write_locks(
    service: Service, targets: Targets, inputs: LockInputs, solved: Solved, local: str
) -> None:
    """Write both locks of the image; `local` names the torch build (`cu130`) that was solved.

    The header of the package lock says which packages are built from source, and with what.
    """
    shared, torch = split(solved.text, targets)
    built = f"# sdists: {' '.join(inputs.sdists)}\n" if inputs.sdists else ""
    built += f"# build: {' '.join(solved.build)}\n" if solved.build else ""
    body = built + _replaced(solved) + shared
    head = header(service.name, inputs, body, parts=True)
    files.write_text(service.package_lock, head + body)
    head = header(service.name, inputs, torch, parts=False)
    files.write_text(service.torch_lock(local), head + torch)


def _replaced(solved: Solved) -> str:
    """Return remarks, which no build reads: what was asked for, and what is installed in place."""
    lines = (f"# in place of {name}: {by}\n" for name, by in sorted(solved.replaced.items()))
    return "".join(lines)


def previous(service: Service, local: str) -> str:
    """Return the entries of the image's present locks, whose versions a new solve prefers."""
    paths = (service.package_lock, service.torch_lock(local))
    return "".join(path.read_text("utf-8") for path in paths if path.is_file())


def is_locked(service: Service, inputs: LockInputs, local: str) -> bool:
    """Say whether the image has locks that were made from these very inputs, and are as made.

    `local` names the torch build that is solved.
    """
    paths = (service.package_lock, service.torch_lock(local))
    texts = [path.read_text("utf-8") for path in paths if path.is_file()]
    return len(texts) == len(paths) and all(
        is_made_from(text, inputs) and is_as_written(text) for text in texts
    )


def check_locks(service: Service, inputs: LockInputs, local: str) -> None:
    """Raise `DriftError` when the committed locks were made from other inputs than today's.

    Also when one is missing, or is not as it was written. `local` names the torch build that is
    solved.
    """
    command = f"`./kiln lock --image {service.name}`"
    paths = (service.package_lock, service.torch_lock(local))
    for path in paths:
        if not path.is_file():
            raise DriftError(f"{path} does not exist", remedy=f"run {command}")
    _check_pins(service, inputs, command)
    for path in paths:
        _check_lock(path, inputs, command)


def _check_lock(path: Path, inputs: LockInputs, command: str) -> None:
    text = path.read_text("utf-8")
    if not is_made_from(text, inputs):
        told = list(differences(text, inputs)) if PART.search(text) else []
        shown = "".join(f"\n  {entry}" for entry in told) or (
            " (requirements of ComfyUI, its Manager or a pack, the torch family, the Python)"
        )
        raise DriftError(
            f"{path} was made from other inputs than the image has now{shown}",
            remedy=f"run {command} and review the difference",
        )
    if not is_as_written(text):
        raise DriftError(
            f"{path} is not as it was made: its entries were changed by hand or by a merge",
            remedy=f"run {command} and review the difference",
        )


def _check_pins(service: Service, inputs: LockInputs, command: str) -> None:
    """Tell the difference where the snapshot pins other versions than the lock has."""
    have = {normal_name(name): version for name, version in locked(service.package_lock).items()}
    wrong = []
    for line in inputs.constraints:
        name, _, version = line.partition("==")
        found = have.get(normal_name(name))
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
    return {name: entry for name, entry in stand_ins.items() if (name, entry.by) in told}
