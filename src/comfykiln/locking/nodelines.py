"""The requirement lines of custom nodes: parsed, the torch family set aside, the rest refused."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.documents.faults import Faults
from comfykiln.documents.requirements import line_of, parse_file, parse_line
from comfykiln.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from comfykiln.environment import Package
    from comfykiln.origins.nodes import GatheredNode
    from comfykiln.services import Service


_NAME = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeLines:
    """What the nodes add to a solve: files of lines, exact pins, and what was set aside."""

    requirements: Mapping[str, str]
    constraints: tuple[str, ...]
    set_aside: tuple[str, ...]


def node_lines(
    nodes: Sequence[GatheredNode], pins: Sequence[str], service: Service, family: Sequence[str]
) -> NodeLines:
    """Return the lines of all nodes, in the words that uv reads.

    A line that names the torch family is set aside: the family belongs to the target. A line that
    names a dropped package is too. Lines that are options, or that fetch from
    anywhere but the package index, are refused with their place.
    """
    faults = Faults(f"the requirements of the nodes of {service.name}")
    aside: list[str] = []
    torch = {line.partition("==")[0] for line in family}
    overridden = {normalized(_NAME.split(one.requirement)[0]) for one in service.overrides}
    requirements: dict[str, str] = {}
    for node in nodes:
        name = f"nodes/{node.pin.directory}.txt"
        lines = []
        for package in _packages(node, faults):
            reason = _reason_aside(package, torch, service)
            if reason:
                aside.append(f"{node.pin.directory}: {line_of(package)} ({reason})")
            elif package.source == "index":
                lines.append(line_of(package))
            elif normalized(package.name) in overridden:
                lines.append(package.name)
            else:
                _refuse(package, faults)
        if lines:
            requirements[name] = "".join(f"{line}\n" for line in dict.fromkeys(lines))
    constraints = [
        pin for pin in pins if normalized(pin.partition("==")[0]) not in torch | set(service.drop)
    ]
    faults.stop()
    return NodeLines(
        requirements=requirements,
        constraints=tuple(sorted(constraints)),
        set_aside=tuple(dict.fromkeys(aside)),
    )


def normalized(name: str) -> str:
    """Return a package name in the form of PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _packages(node: GatheredNode, faults: Faults) -> Iterator[Package]:
    """Yield what the node asks for, in its requirements.txt and in its pyproject.toml."""
    name = node.pin.directory
    if node.own.requirements is not None:
        yield from parse_file(node.own.requirements.encode(), f"{name}/requirements.txt", faults)
    place = f"{name}/pyproject.toml"
    for line in _dependencies(node.own.pyproject or "", place):
        package = parse_line(line, f"{place} project.dependencies", faults)
        if package:
            yield package


def _dependencies(text: str, place: str) -> list[str]:
    try:
        project = tomllib.loads(text).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise DocumentError(
            f"{place} is not TOML: {error}", remedy="pin a commit that mends it"
        ) from error
    found = project.get("dependencies", []) if isinstance(project, dict) else []
    return [line for line in found if isinstance(line, str)] if isinstance(found, list) else []


def _reason_aside(package: Package, torch: set[str], service: Service) -> str:
    name = normalized(package.name)
    if name in torch:
        return "the torch family belongs to the target"
    for key in (name, line_of(package)):
        if key in service.drop:
            return f"dropped: {service.drop[key]}"
    return ""


def _refuse(package: Package, faults: Faults) -> None:
    faults.add(
        package.place,
        "requirement.source",
        f"{line_of(package)!r} is not from the package index, so no lock can hold its hash",
        expected="a package of the index",
        remedy="override it by a released version, or drop the line, in service.yaml",
    )
