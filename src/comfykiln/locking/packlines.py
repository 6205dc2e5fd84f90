"""The requirement lines of one node: read as pip reads them, some dropped word for word."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.requirements import logical_lines, parse_line, without_comment
from comfykiln.system.gate import masked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from comfykiln.environment import Package

_UNREADABLE = {"requirement.option", "requirement.format"}
_REMEDY = (
    "drop the line, word for word and with a reason, below `drop:` in service.yaml (with --from: "
    "in a file for --rules), and name below `requirements:` what it is to bring"
)


class NodePack(Protocol):
    """What is asked of a gathered node: its folder's name and two of its files' texts."""

    @property
    def directory(self) -> str:
        """The node's folder below custom_nodes."""

    @property
    def requirements(self) -> str | None:
        """The text of its requirements.txt."""

    @property
    def pyproject(self) -> str | None:
        """The text of its pyproject.toml."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One requirement: its place, its text in one piece, and the lines of the file it stands in."""

    place: str
    text: str
    parts: tuple[str, ...]


def lines_of(node: NodePack) -> Iterator[Line]:
    """Yield every line that is more than a comment, of requirements.txt and of pyproject.toml."""
    name = node.directory
    written = (node.requirements or "").split("\n")
    for number, joined in logical_lines(node.requirements or ""):
        text = without_comment(joined).strip()
        if text:
            count = _length(written, number)
            parts = tuple(
                without_comment(part).strip() for part in written[number - 1 : number - 1 + count]
            )
            yield Line(place=f"{name}/requirements.txt line {number}", text=text, parts=parts)
    place = f"{name}/pyproject.toml"
    for text in _dependencies(node.pyproject or "", place):
        yield Line(place=f"{place} project.dependencies", text=text, parts=(text.strip(),))


def _length(written: list[str], number: int) -> int:
    """Return how many lines of the file the requirement takes that begins in line `number`."""
    end = number
    while end < len(written) and written[end - 1].rstrip("\r").endswith("\\"):
        end += 1
    return end - number + 1


def packages_of(
    node: NodePack, drop: Mapping[str, str], faults: Faults
) -> Iterator[tuple[Line, Package]]:
    """Yield what the node asks for, but for lines that are dropped word for word."""
    for line in lines_of(node):
        if line.text in drop:
            continue
        found = Faults(line.place)
        package = parse_line(line.text, line.place, found)
        for record in found.records:
            remedy = _REMEDY if record.rule in _UNREADABLE else record.remedy
            faults.add(
                record.path, record.rule, record.problem, expected=record.expected, remedy=remedy
            )
        if package:
            yield line, package


def dropped_lines(node: NodePack, drop: Mapping[str, str]) -> Iterator[str]:
    """Yield what is to be told of the lines that are dropped word for word."""
    for line in lines_of(node):
        if line.text in drop:
            yield f"{node.directory}: {masked(line.text)} (dropped: {drop[line.text]})"


def _dependencies(text: str, place: str) -> list[str]:
    try:
        project = tomllib.loads(text).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise DocumentError(
            f"{place} is not TOML: {error}", remedy="pin a commit that fixes it"
        ) from error
    found = project.get("dependencies", []) if isinstance(project, dict) else []
    return [line for line in found if isinstance(line, str)] if isinstance(found, list) else []
