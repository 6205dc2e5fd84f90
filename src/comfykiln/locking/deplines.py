"""What the nodes row is told of requirement lines that `comfy node deps` cannot judge.

comfy-cli 1.23.0 looks at each line of a file by itself and at no marker: a line for another system
is missing to it, and one with hashes, one that goes on below, one behind a byte order mark and one
from git without a name it cannot parse. The solve has read them all, so the host says what they
come to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfykiln.locking.nodelines import called, wanted_of
from comfykiln.locking.packlines import lines_of
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.requirements import parse_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfykiln.environment import Package
    from comfykiln.locking.nodelines import Rules, WantedSource
    from comfykiln.locking.packlines import Line, NodePack

BYTE_ORDER_MARK = "\ufeff"


def told_lines(
    node: NodePack, rules: Rules, have: Mapping[str, str], named: Mapping[WantedSource, str]
) -> dict[str, str]:
    """Return lines that comfy-cli cannot judge → the package that meets them, "" for none needed.

    `have` are the versions of the lock, `named` the packages that repositories hold. A line that
    the lock does not meet is left out, so that the complaint about it stands.
    """
    told: dict[str, str] = {}
    for number, line in enumerate(lines_of(node)):
        meets = _meets(line, rules, have, named)
        if meets is not None:
            told |= dict.fromkeys(line.parts, meets)
            if number == 0:
                told[BYTE_ORDER_MARK + line.parts[0]] = meets
    return told


def _meets(
    line: Line, rules: Rules, have: Mapping[str, str], named: Mapping[WantedSource, str]
) -> str | None:
    """Return the package that meets the line, "" where none is needed, None where none does."""
    if line.text in rules.service.drop:
        return ""
    package = parse_line(line.text, line.place, Faults(line.place))
    if package is None or rules.reason_aside(package) or not _applies(package, rules):
        return None if package is None else ""
    name = called(package)
    if name in rules.overridden:
        return name
    if package.source == "git":
        return named.get(wanted_of(package))
    name = rules.stand_ins[name].by if name in rules.stand_ins else name
    return name if _fits(package, have.get(name)) else None


def _applies(package: Package, rules: Rules) -> bool:
    """Say whether the line's marker is true in the image, for the Python that the solve takes."""
    if package.marker is None:
        return True
    from packaging.markers import Marker  # noqa: PLC0415  # slow start

    python = rules.service.python
    return Marker(package.marker).evaluate(
        {
            "implementation_name": "cpython",
            "implementation_version": f"{python}.0",
            "os_name": "posix",
            "platform_machine": "x86_64",
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{python}.0",
            "python_version": python,
            "sys_platform": "linux",
            "extra": "",
        }
    )


def _fits(package: Package, have: str | None) -> bool:
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415  # slow start

    wanted = f"=={package.version}" if package.version else package.specifier or ""
    fits = have is not None and SpecifierSet(wanted).contains(have, prereleases=True)
    return package.source == "index" and fits
