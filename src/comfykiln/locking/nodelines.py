"""The requirement lines of custom nodes: parsed, some set aside or replaced, the rest refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from comfykiln.locking.packlines import dropped_lines, packages_of
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.requirements import file_name, line_of
from comfykiln.parsing.values import normal_name
from comfykiln.system.gate import masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from comfykiln.environment import Package
    from comfykiln.gather.node_lock import NodeLock
    from comfykiln.locking.packlines import NodePack
    from comfykiln.plan.services import Service
    from comfykiln.plan.targets import StandIn, Target, Targets


_NAME = re.compile(r"[^A-Za-z0-9._-]")
# A repository's address, the ref that a line names ('' for its default branch), the subdirectory.
WantedSource = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentPack:
    """What a document asks for itself, told like the lines of a node."""

    requirements: str
    directory: str = ".document"
    pyproject: str | None = None


def packs_of(service: Service, nodes: Sequence[NodePack]) -> tuple[NodePack, ...]:
    """Return everything whose lines are solved: the nodes, and the document of a generated image.

    No node's folder has the name that the latter goes by.
    """
    if not (service.document and service.requirements):
        return tuple(nodes)
    return (*nodes, DocumentPack(requirements="\n".join(service.requirements)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What decides about a line: the image's own decisions, the torch family, the stand-ins.

    `accelerators` are patterns of the names that belong to the torch row. `commits` says what the
    refs of `git+` lines were resolved to.
    """

    service: Service
    family: Sequence[str]
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict)
    accelerators: Sequence[str] = ()
    commits: Mapping[WantedSource, str] = field(default_factory=dict)

    @property
    def torch(self) -> set[str]:
        """The names of the torch family."""
        return {line.partition("==")[0] for line in self.family}

    @property
    def overridden(self) -> set[str]:
        """The names of packages whose every requirement is replaced."""
        return {normal_name(_NAME.split(entry.requirement)[0]) for entry in self.service.overrides}

    def reason_aside(self, package: Package) -> str:
        """Return why a line takes no part in the solve, '' where it does."""
        name = called(package)
        if name in self.torch:
            return "the torch family belongs to the target"
        if name not in self.stand_ins and any(
            fnmatchcase(name, entry) for entry in self.accelerators
        ):
            return "it goes with the target's torch, which brings it where it needs it"
        drop: dict[str, str] = {normal_name(name): why for name, why in self.service.drop.items()}
        drop |= self.service.drop
        return next(
            (f"dropped: {drop[key]}" for key in (name, line_of(package)) if key in drop), ""
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeLines:
    """What the nodes add to a solve: files of lines, exact pins, and what was set aside.

    `replaced` are the names in lines that ask for their stand-in now.
    """

    requirements: Mapping[str, str]
    constraints: tuple[str, ...]
    set_aside: tuple[str, ...]
    replaced: frozenset[str]


def node_lines(nodes: Iterable[NodePack], pins: Sequence[str], rules: Rules) -> NodeLines:
    """Return the lines of all nodes, in the words that uv reads.

    A line that names the torch family or a dropped package is set aside; one that names a package
    with a stand-in asks for that; a `git+` line gets its commit. Lines that are options, or that
    fetch from elsewhere, are refused with their place.
    """
    faults = Faults(f"the requirements of the nodes of {rules.service.name}")
    aside: list[str] = []
    replaced: set[str] = set()
    requirements: dict[str, str] = {}
    for node in nodes:
        lines = []
        aside += dropped_lines(node, rules.service.drop)
        for _, package in packages_of(node, rules.service.drop, faults):
            reason = rules.reason_aside(package)
            if reason:
                aside.append(f"{node.directory}: {masked(line_of(package))} ({reason})")
            elif line := _line(package, rules, faults):
                lines.append(line)
                if stand_in := rules.stand_ins.get(normal_name(package.name)):
                    replaced.add(normal_name(package.name))
                    aside.append(
                        f"{node.directory}: {line_of(package)} ({stand_in.by}: {stand_in.reason})"
                    )
        if lines:
            text = "".join(f"{line}\n" for line in dict.fromkeys(lines))
            requirements[f"nodes/{node.directory}.txt"] = text
    faults.stop()
    left_out = rules.torch | set(map(normal_name, rules.service.drop)) | rules.stand_ins.keys()
    constraints = [pin for pin in pins if normal_name(pin.partition("==")[0]) not in left_out]
    return NodeLines(
        requirements=requirements,
        constraints=tuple(sorted(constraints)),
        set_aside=tuple(dict.fromkeys(aside)),
        replaced=frozenset(replaced),
    )


def rules_of(
    service: Service, target: Target | Targets, family: Sequence[str], lock: NodeLock
) -> Rules:
    """Return what decides about the lines of this image's nodes."""
    commits = {
        (source.url, source.ref, source.subdirectory): source.commit for source in lock.sources
    }
    return Rules(
        service=service,
        family=family,
        stand_ins=target.stand_ins,
        accelerators=target.accelerator_packages,
        commits=commits,
    )


def wanted_sources(nodes: Iterable[NodePack], rules: Rules) -> dict[WantedSource, list[str]]:
    """Return the repositories that lines of nodes want packages from → the nodes that do."""
    found: dict[WantedSource, list[str]] = {}
    faults = Faults(f"the requirements of the nodes of {rules.service.name}")
    for node in nodes:
        for _, package in packages_of(node, rules.service.drop, faults):
            named = normal_name(package.name) in rules.overridden
            if package.source == "git" and not named and not rules.reason_aside(package):
                found.setdefault(wanted_of(package), []).append(node.directory)
    faults.stop()
    return found


def called(package: Package) -> str:
    """Return the normalised name of a package; one without a name may be a wheel that says it."""
    file = file_name(package.url or package.path or "")
    return normal_name(package.name or (file.partition("-")[0] if file.endswith(".whl") else ""))


def _line(package: Package, rules: Rules, faults: Faults) -> str:
    """Return the line that the solve gets, '' after a fault."""
    stand_in = rules.stand_ins.get(normal_name(package.name))
    if package.source == "index":
        return line_of(replace(package, name=stand_in.by) if stand_in else package)
    if called(package) in rules.overridden:
        return called(package)
    if package.source != "git":
        _refuse(package, faults, "is not from the package index, so no lock can hold its hash")
        return ""
    commit = rules.commits.get(wanted_of(package))
    if commit is None:
        _refuse(package, faults, "is not resolved to a commit by the lock: run `./kiln lock`")
        return ""
    url = package.url or ""
    return line_of(replace(package, url=_https(url), ref=commit))


def wanted_of(package: Package) -> WantedSource:
    """Return what the line of a package from git asks for."""
    return _https(package.url or ""), package.ref or "", package.subdirectory or ""


def _https(url: str) -> str:
    from comfykiln.parsing.values import https  # noqa: PLC0415  # rare

    return https(url)


def _refuse(package: Package, faults: Faults, problem: str) -> None:
    faults.add(
        package.place,
        "requirement.source",
        f"{masked(line_of(package))!r} {problem}",
        expected="a package of the index, or of a git repository over https",
        remedy="override it by a released version, or drop the line, in service.yaml "
        "(with --from: in a file for --rules)",
    )
