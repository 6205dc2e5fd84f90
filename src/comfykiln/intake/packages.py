"""What a document's packages mean for the one solve of its image.

Exact versions are wishes: they are kept wherever ComfyUI, the nodes and the Python allow it, and
every other outcome is told. The torch family and what goes with it are always the target's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from comfykiln.documents.formats import format_of
from comfykiln.documents.manifest.steps import merge, overrides_for
from comfykiln.documents.manifest.write import locked_versions
from comfykiln.intake.records import Difference, Packages
from comfykiln.parsing.faults import Note
from comfykiln.parsing.requirements import line_of
from comfykiln.parsing.values import https, normal_name
from comfykiln.system.gate import masked

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from comfykiln.environment import Environment, Package
    from comfykiln.plan.targets import Targets

PLATFORM = "linux-x86_64"
_OPTIONAL = "optional-"
_TOOLS = "comfygit-system"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_KEEPABLE = re.compile(r"[A-Za-z0-9][^@;]*")


@dataclass(kw_only=True, slots=True)
class Sorted:
    """What the packages of a document come to, with what is to be said and what is wrong."""

    packages: Packages
    differences: list[Difference] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class _Found:
    required: list[str] = field(default_factory=list)
    preferred: dict[str, str] = field(default_factory=dict)
    constraints: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    drop: dict[str, str] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def tell(self, path: str, message: str) -> None:
        self.notes.append(Note(path=path, rule="from.package", message=message))


def sort_out(
    environment: Environment, kind: str, targets: Targets, leave_out: Collection[str]
) -> Sorted:
    """Return what the solve is to require, prefer and leave out."""
    found = _Found()
    overrides = overrides_for(environment, PLATFORM)
    for name in (name for entry in overrides for name in entry.excludes):
        found.drop[normal_name(name)] = "the document excludes it on this platform"
    listed = [
        package
        for package in environment.packages
        if package.source == "index" and package.group is None
    ]
    here = merge(listed, *(entry.packages for entry in overrides))
    rest = [package for package in environment.packages if package not in listed]
    theirs = _theirs(environment, targets, found)
    for package in (*here, *rest):
        name = normal_name(package.name)
        if normal_name(called(package)) in leave_out:
            found.tell(package.place or name, f"{called(package)}: left out, as --leave-out says")
        elif name not in theirs and name not in found.drop:
            _take(package, freeze=format_of(kind).freezes, found=found)
    _bend(environment, theirs, found)
    for name, version in locked_versions(environment).items():
        if name not in theirs and name not in found.drop:
            found.preferred.setdefault(name, version)
    variables = {name: value for entry in overrides for name, value in entry.environment}
    return Sorted(
        packages=_packages(found, variables),
        differences=found.differences,
        notes=found.notes,
        faults=found.faults,
    )


def called(package: Package) -> str:
    """Return what --leave-out calls a package: its name, else the last part of its address."""
    address = (package.path or package.url or "").replace("\\", "/").rstrip("/")
    return package.name or address.rpartition("/")[2].removesuffix(".git")


def _packages(found: _Found, variables: Mapping[str, str]) -> Packages:
    return Packages(
        required=tuple(dict.fromkeys(found.required)),
        preferred=dict(sorted(found.preferred.items())),
        constraints=tuple(found.constraints),
        overrides=tuple(found.overrides),
        drop=found.drop,
        variables=variables,
    )


def _theirs(environment: Environment, targets: Targets, found: _Found) -> set[str]:
    """Return the packages that belong to the target, and tell which of them differ."""
    listed = {
        normal_name(package.name): package for package in environment.packages if package.name
    }
    torch = {normal_name(package.name): package for package in environment.torch.packages}
    family = next(iter(targets.by_name.values())).torch.versions
    theirs = {name for name in listed | torch if targets.is_accelerator_package(name)}
    theirs -= targets.stand_ins.keys()
    if environment.torch.version and "torch" not in listed | torch:
        _tell_torch("torch", environment.torch.version, family.get("torch"), found)
    others = []
    for name in sorted(theirs):
        asked = ({**listed, **torch}[name]).version or "any"
        if name in family:
            _tell_torch(name, asked, family[name], found)
        else:
            others.append(f"{name} {asked}")
    if others:
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if others[5:] else "")
        found.tell("packages", f"left to the target's torch: {shown}")
    return theirs | set(family)


def _tell_torch(name: str, asked: str, got: str | None, found: _Found) -> None:
    if got is not None and asked.partition("+")[0] not in ("any", got):
        why = "the torch family belongs to the target"
        found.differences.append(Difference(thing=name, asked=asked, got=got, why=why))


def _take(package: Package, *, freeze: bool, found: _Found) -> None:
    if package.group == _TOOLS or (package.group or "").startswith(_OPTIONAL):
        why = f"not asked for: the group {package.group} is one that may be missing"
        found.tell(package.place or package.name, f"{line_of(package)}: {why}")
    elif package.source != "index":
        _take_sourced(package, freeze=freeze, found=found)
    elif package.version:
        found.preferred[normal_name(package.name)] = package.version
        if not freeze:
            found.required.append(_unpinned(package))
    else:
        found.required.append(line_of(package))


def _take_sourced(package: Package, *, freeze: bool, found: _Found) -> None:
    """Tell of a package that no index has; where a document wants it, that is a fault."""
    line = masked(line_of(package))
    place = package.place or package.name or "packages"
    if package.source == "git" and not freeze and https(package.url or "").startswith("https://"):
        found.required.append(line_of(package))
        found.tell(place, f"{line}: built from the commit that the lock resolves it to")
        return
    where = {"git": "from a repository", "url": "from an address"}.get(package.source, "a path")
    if freeze:
        message = f"{line}: {where}, not taken; where a node asks for it, the index's release is"
        found.tell(place, message)
        return
    found.faults.append(
        f"{place}: {line}: {where}, so that no lock can hold its hash; name a release of the "
        f"package index, or leave it out (--leave-out {called(package)})"
    )


def _unpinned(package: Package) -> str:
    extras = f"[{','.join(package.extras)}]" if package.extras else ""
    return f"{package.name}{extras}" + (f" ; {package.marker}" if package.marker else "")


def _bend(environment: Environment, theirs: set[str], found: _Found) -> None:
    """Take over what bends the document's own solve, but for the target's packages."""
    resolution = environment.resolution
    found.constraints += [entry for entry in resolution.constraints if _named(entry) not in theirs]
    for line in resolution.overrides:
        if _named(line) in theirs:
            continue
        if _KEEPABLE.fullmatch(line):
            found.overrides.append(line)
        else:
            problem = "an override with a marker or an address cannot be kept"
            found.faults.append(f"$.tool.uv.override-dependencies: {line}: {problem}")
    for line in resolution.excludes:
        found.drop[_named(line)] = "the document excludes it"
    for asked, instead in resolution.substitutions:
        found.drop[_named(asked)] = f"the document puts {_named(instead)} in its place"
        found.required.append(instead)
    for index in environment.indexes:
        if index.url != environment.torch.index_url:
            message = f"{masked(index.url)} is not asked: only this machine's indexes are"
            found.tell("indexes", message)


def _named(line: str) -> str:
    match = _NAME.match(line)
    return normal_name(match[0]) if match else line
