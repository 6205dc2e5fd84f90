"""What a target needs of the machine it runs on: for `run`, compose.yaml and `doctor` alike."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(StrEnum):
    """Whose accelerator it is; nothing here knows how to judge `other`."""

    NONE = "none"
    NVIDIA = "nvidia"
    AMD = "amd"
    INTEL = "intel"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """What a container is given of an accelerator, and what a host has where there is one.

    Given: `devices` are device files, `gpus` are those that the NVIDIA runtime hands out, `groups`
    maps the names of the groups that own the devices to the numbers that most hosts have for them,
    `runtime`, `ipc` and `shm` (size of /dev/shm, such as 8g) are docker's own.

    On the host: `nodes` are patterns of device files, of which each has to match one, `vendor` is
    the PCI vendor that those in /dev/dri must have, `program` prints `name, driver version` of
    each device, `driver` is the oldest driver that serves. `limit` says what falls short even
    where all of this is there.
    """

    kind: Kind
    devices: tuple[str, ...] = ()
    gpus: str = ""
    groups: Mapping[str, int] = field(default_factory=dict)
    runtime: str = ""
    ipc: str = ""
    shm: str = ""
    nodes: tuple[str, ...] = ()
    vendor: str = ""
    program: tuple[str, ...] = ()
    driver: str = ""
    limit: str = ""

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of `docker run` that give a container the accelerator."""
        values = {"gpus": self.gpus, "runtime": self.runtime, "ipc": self.ipc, "shm-size": self.shm}
        devices = [f"--device={device}" for device in self.devices]
        return (*devices, *(f"--{name}={value}" for name, value in values.items() if value))

    @property
    def group_variables(self) -> dict[str, int]:
        """The variables of compose.yaml that hold the groups' numbers, each with its default."""
        return {f"{re.sub('-', '_', n).upper()}_GID": gid for n, gid in self.groups.items()}


def accelerator_of(entry: Mapping[str, Any]) -> Accelerator:
    """Return the record of a checked `accelerator` of targets.yaml; devices are nodes, too."""
    nodes = entry.get("nodes", entry.get("devices", ()))
    lists = {"devices": entry.get("devices", ()), "nodes": nodes}
    lists["program"] = entry.get("program", ())
    tuples = {name: tuple(values) for name, values in lists.items()}
    return Accelerator(**{**entry, **tuples, "kind": Kind(entry["kind"])})
