"""The records of images/targets.yaml: on what an image runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DocumentError
from comfykiln.plan.accelerators import accelerator_of
from comfykiln.plan.datafiles import load_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from comfykiln.plan.accelerators import Accelerator


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchRow:
    """The torch family of one target: exact versions, the index that has them, its local tag."""

    target: str
    versions: Mapping[str, str]
    index: str
    local: str
    gigabytes: float

    @property
    def requirements(self) -> tuple[str, ...]:
        """The family as exact requirement lines without local tags, torch first as written."""
        return tuple(f"{name}=={version}" for name, version in self.versions.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class StandIn:
    """The package that is installed in place of another one, and why."""

    by: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One kind of machine: what its images hold beyond the others, and how they are run.

    `stand_ins` maps the normalised name of a package to what is installed in its place,
    `accelerator_packages` are patterns of names that belong to the torch row; both are the same
    for all targets, since one lock serves them.
    """

    name: str
    title: str
    torch: TorchRow
    apt: tuple[str, ...]
    server: tuple[str, ...]
    environment: Mapping[str, str]
    accelerator: Accelerator
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict)
    accelerator_packages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """All targets by name, the packages that are theirs alone, and those with a stand-in."""

    by_name: Mapping[str, Target]
    accelerator_packages: tuple[str, ...]
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict)

    def get(self, name: str | None) -> Target:
        """Return the target `name`; otherwise raise an error that says which there are."""
        known = ", ".join(self.by_name)
        if name is None:
            raise DocumentError("no target given", remedy=f"add --target, one of: {known}")
        if name not in self.by_name:
            raise DocumentError(f"there is no target {name!r}", remedy=f"use one of: {known}")
        return self.by_name[name]

    def torch_gigabytes(self, local: str) -> float:
        """Return the installed size of the torch build `local`, the largest known for others."""
        sizes = {target.torch.local: target.torch.gigabytes for target in self.by_name.values()}
        return sizes.get(local, max(sizes.values()))

    def is_accelerator_package(self, name: str) -> bool:
        """Tell whether the package (normalised name) belongs to the torch row."""
        return any(fnmatchcase(name, pattern) for pattern in self.accelerator_packages)


def load_targets(path: Path) -> Targets:
    """Read targets.yaml; raises `DocumentError` with every fault and its place."""
    raw = load_yaml(path, "targets")
    stand_ins = {name: StandIn(**entry) for name, entry in raw.get("stand_ins", {}).items()}
    accelerator = tuple(raw["accelerator_packages"])
    return Targets(
        by_name={
            name: _target(name, entry, stand_ins, accelerator)
            for name, entry in raw["targets"].items()
        },
        accelerator_packages=accelerator,
        stand_ins=stand_ins,
    )


def _target(
    name: str,
    entry: Mapping[str, Any],
    stand_ins: Mapping[str, StandIn],
    accelerator_packages: tuple[str, ...],
) -> Target:
    torch = entry["torch"]
    return Target(
        name=name,
        title=entry["title"],
        torch=TorchRow(
            target=name,
            versions=torch["versions"],
            index=torch["index"],
            local=torch["local"],
            gigabytes=torch["gigabytes"],
        ),
        apt=tuple(entry["apt"]),
        server=tuple(entry["server"]),
        environment=entry["environment"],
        accelerator=accelerator_of(entry["accelerator"]),
        stand_ins=stand_ins,
        accelerator_packages=accelerator_packages,
    )
