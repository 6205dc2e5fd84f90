"""What a lock holds instead of what a document asks for, and why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfykiln.errors import DriftError
from comfykiln.intake.records import Difference
from comfykiln.locking import locked
from comfykiln.parsing.values import normal_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from comfykiln.locking import LockInputs
    from comfykiln.plan.services import Service
    from comfykiln.plan.targets import StandIn

_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*([^;#]*)")


def compare(
    service: Service,
    inputs: LockInputs,
    preferred: Mapping[str, str],
    stand_ins: Mapping[str, StandIn],
) -> tuple[tuple[Difference, ...], tuple[str, ...]]:
    """Return the packages that the lock has in other versions, and those that it does not have.

    The latter are what nothing in the image asks for.
    """
    from packaging.version import Version  # noqa: PLC0415  # slow start

    have = {normal_name(name): version for name, version in locked(service.package_lock).items()}
    stood_in = tuple(
        Difference(
            thing=name, asked=asked, got=f"{stand_in.by} {have[stand_in.by]}", why=stand_in.reason
        )
        for name, asked in preferred.items()
        if name not in have and (stand_in := stand_ins.get(name)) and stand_in.by in have
    )
    different = tuple(
        Difference(
            thing=name, asked=asked, got=have[name], why=_reason(name, asked, inputs)
        )
        for name, asked in preferred.items()
        if name in have and Version(have[name]) != Version(asked)
    )  # fmt: skip
    known = have.keys() | {entry.thing for entry in stood_in}
    return (*different, *stood_in), tuple(name for name in preferred if name not in known)


def refuse(name: str, differences: Sequence[Difference]) -> None:
    """Raise `DriftError` where a lock must be what the document says and is not."""
    if differences:
        lines = "".join(
            f"\n  {difference.thing}: {difference.asked} asked, {difference.got} ({difference.why})"
            for difference in differences
        )
        raise DriftError(
            f"the lock of {name} differs from the document:{lines}",
            remedy="leave --packages exact out to build all the same, or fix the document",
        )


def _reason(name: str, asked: str, inputs: LockInputs) -> str:
    """Return who asks for another version, where one of the solve's own lines does."""
    claims = [who for who, line in _lines(inputs) if _excludes(line, name, asked)]
    if claims:
        return "; ".join(dict.fromkeys(claims))
    return f"it fits neither another package nor Python {inputs.python} as a wheel"


def _lines(inputs: LockInputs) -> Iterator[tuple[str, str]]:
    from comfykiln.locking.conflicts import asker  # noqa: PLC0415  # with its one use

    for file, text in inputs.requirements.items():
        for line in text.splitlines():
            yield f"{asker(file)} asks for `{line}`", line
    for line in inputs.overrides:
        yield f"the override `{line}`", line


def _excludes(line: str, name: str, version: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415  # slow start

    match = _LINE.match(line)
    if match is None or normal_name(match[1]) != name or not match[2].strip():
        return False
    try:
        return not SpecifierSet(match[2].strip()).contains(version, prereleases=True)
    except InvalidSpecifier:
        return False
