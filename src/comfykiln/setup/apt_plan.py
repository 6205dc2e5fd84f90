"""What apt would do, read from its simulation, and whether ./kiln may let it: by release.

A newer version from the machine's own release (its updates and security suites included) is
ordinary maintenance. A removal, a downgrade, another release's version of anything but the
engine's own packages, and any change of a package on hold are not ./kiln's to decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.errors import NotPossibleError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

# Inst NAME [OLD] (NEW LABEL:VERSION/ARCHIVE, … [ARCHITECTURE]): the old version is there for an
# upgrade, and several archives may offer the same version.
INST = re.compile(r"Inst (\S+)(?: \[([^\]]+)\])? \((\S+) ?(.*?) ?\[([^\]]*)\]\)")
INSTALLS = re.compile(r"^ *Inst\b.*", re.MULTILINE)
REMV = re.compile(r"^ *(?:Remv|Purg) (\S+)", re.MULTILINE)
# The member of a release that names the suite within a release, and whose releases count as own.
SUITE = {"debian": "n", "ubuntu": "a"}
ORIGINS = {"debian": {"Debian"}, "ubuntu": {"Ubuntu", "UbuntuESM", "UbuntuESMApps"}}
MAINTAINED = {
    *("updates", "security"),
    *("infra-updates", "infra-security", "apps-updates", "apps-security"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One package that apt would install or upgrade; `old` is empty for a new one.

    `name` has its architecture behind a colon where that is not the machine's own.
    """

    name: str
    old: str
    new: str
    releases: tuple[str, ...]  # as apt shows them, such as "Debian:12.15/oldstable"
    architecture: str = ""

    def is_one_of(self, names: Collection[str]) -> bool:
        """Tell whether the package is among `names`, with or without an architecture."""
        plain = self.name.partition(":")[0]
        return not {self.name, plain, f"{plain}:{self.architecture}"}.isdisjoint(names)

    def __str__(self) -> str:
        """Return the change as a person is told of it."""
        return f"{self.name} {self.old} → {self.new}" if self.old else f"{self.name} {self.new}"


@dataclass(frozen=True, kw_only=True, slots=True)
class AptPlan:
    """Everything that a simulated run of apt would change."""

    changes: tuple[Change, ...]
    removed: tuple[str, ...]


def read_plan(simulation: str) -> AptPlan:
    """Read what `apt-get install --simulate` printed in the C locale.

    Raises `NotPossibleError` for a line that cannot be read: nothing is installed unjudged.
    """
    lines = [line.strip() for line in INSTALLS.findall(simulation)]
    return AptPlan(
        changes=tuple(_change(line) for line in lines), removed=tuple(REMV.findall(simulation))
    )


def _change(line: str) -> Change:
    match = INST.match(line)
    if match is None:
        raise NotPossibleError(
            f"what apt would install cannot be read: {line}",
            remedy="install a Docker engine by hand (docs/setup.md), and start the task again",
        )
    name, old, new, archives, architecture = match.groups(default="")
    return Change(
        name=name,
        old=old,
        new=new,
        releases=tuple(archives.split(", ")),
        architecture=architecture,
    )


def own_releases(policy: str, *, distribution: str, codename: str, rolling: bool) -> frozenset[str]:
    """Return the releases that are this machine's own, as simulations name them.

    `policy` is what `apt-cache policy` printed: each source with its origin, archive and codename.
    A machine without a release number (`rolling`) is Debian testing or unstable.
    """
    names = {codename, "sid"} if rolling else {codename}
    suites = names | {f"{name}-{pocket}" for name in names for pocket in MAINTAINED}
    return frozenset(
        _release_name(release)
        for release in _releases(policy)
        if release.get("o") in ORIGINS.get(distribution, set())
        and release.get(SUITE.get(distribution, "n")) in suites
    )


def _releases(policy: str) -> Iterator[dict[str, str]]:
    for line in re.findall(r"^ +release (.+)$", policy, flags=re.MULTILINE):
        members = re.split(r",(?=[a-z]=)", line)
        yield {name: value for name, _, value in (member.partition("=") for member in members)}


def _release_name(release: dict[str, str]) -> str:
    """Return a release in the words of a simulation: LABEL:VERSION/ARCHIVE."""
    version = f"{release['v']}/" if release.get("v") else ""
    return f"{release.get('l', '')}:{version}{release.get('a', '')}"


def refusals(
    plan: AptPlan,
    *,
    own: frozenset[str],
    anywhere: Collection[str],
    untouched: Collection[str],
    held: Collection[str],
    is_older: Callable[[str, str], bool],
) -> list[str]:
    """Return why ./kiln may not carry out `plan`, each with the package and the reason.

    `own` are the machine's own releases, `anywhere` the engine's packages that may come from
    another one, `untouched` packages in use that must stay as they are, `held` those on hold;
    `is_older(new, old)` compares two versions as dpkg does.
    """
    found = [f"it would remove {name}" for name in plan.removed]
    for change in plan.changes:
        name = change.name.partition(":")[0]
        if change.is_one_of(held):
            found.append(f"it would change {change}, which is on hold")
        elif change.old and is_older(change.new, change.old):
            found.append(f"it would downgrade {change}")
        elif change.old and name in untouched:
            found.append(f"it would replace {change}, which is in use")
        elif name not in anywhere and not own & set(change.releases):
            found.append(f"it would take {change} from {' or '.join(change.releases)}")
    return found
