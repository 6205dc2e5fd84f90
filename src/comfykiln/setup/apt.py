"""Debian and Ubuntu: which one this is, and packages from its own archive."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import NotPossibleError
from comfykiln.system import console
from comfykiln.system.process import ProgramError, capture

if TYPE_CHECKING:
    from collections.abc import Sequence

OS_RELEASE = Path("/etc/os-release")
SOURCES = Path("/etc/apt")
PATIENCE = 1800  # seconds for a hundred megabytes over a slow line

# An engine is no reason to restart other services, to wait for a person or to hang on a lock.
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C"}
INSTALL = (
    *("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "--no-remove"),
    *("-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Options::=--force-confold"),
)
UPDATE = (
    *("apt-get", "update", "--quiet", "--error-on=any"),
    *("-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"),
    *("-o", "Acquire::https::Timeout=20", "-o", "DPkg::Lock::Timeout=120"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """What /etc/os-release says: `id` is "debian", "ubuntu", …; `codename` may be empty."""

    id: str
    codename: str
    name: str

    @property
    def has_packages(self) -> bool:
        """Tell whether this is a system whose packages ./kiln knows by name."""
        return self.id in {"debian", "ubuntu"} and shutil.which("apt-get") is not None


def distribution(path: Path = OS_RELEASE) -> Distribution:
    """Read which distribution this is; without the file (macOS) every field is empty."""
    fields: dict[str, str] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            fields[name.strip()] = value.strip().strip("\"'")
    return Distribution(
        id=fields.get("ID", ""),
        codename=fields.get("VERSION_CODENAME", ""),
        name=fields.get("PRETTY_NAME", ""),
    )


def install(packages: Sequence[str], *, may_upgrade: Sequence[str] = ()) -> None:
    """Install `packages` from the lists at hand, touching nothing that is installed already.

    `may_upgrade` names the packages that may take the place of an older one of the same name.
    A plan that would upgrade or remove anything else raises `NotPossibleError` before it is
    carried out; apt's own refusal raises `ProgramError`.
    """
    plan = run([*INSTALL, "--simulate", *packages])
    foreign = sorted(set(upgraded(plan)) - set(packages) - set(may_upgrade))
    if foreign:
        raise NotPossibleError(
            f"installing {' '.join(packages)} would also upgrade {' '.join(foreign)}",
            remedy="upgrade this machine by `apt-get upgrade` first, or install them by hand",
        )
    run([*INSTALL, *packages])


def upgraded(plan: str) -> list[str]:
    """Return the names that a simulated run would upgrade: `Inst NAME [old] (new …)`."""
    return re.findall(r"^Inst (\S+) \[", plan, flags=re.MULTILINE)


def update(*releases: str, sources: Path = SOURCES) -> None:
    """Read the package lists of the sources that name `releases`, leaving all other lists alone.

    A third party's archive that is out of reach must not stop what does not need it. A list that
    cannot be read is said; whether it mattered shows when the packages are installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        chosen = naming_files(*releases, sources=sources)
        for path in chosen:
            shutil.copy(path, folder)
        try:
            run([*UPDATE, *(only_sources(Path(folder)) if chosen else ())])
        except ProgramError as error:
            faults = [line for line in error.output.splitlines() if line[:2] in {"E:", "W:"}]
            console.warn("apt could not read every package list:\n    " + "\n    ".join(faults))


def only_sources(folder: Path) -> tuple[str, ...]:
    """Return apt's options that make `folder` its only sources, keeping lists it has already."""
    return (
        *("-o", "Dir::Etc::SourceList=/dev/null", "-o", f"Dir::Etc::SourceParts={folder}"),
        *("-o", "APT::Get::List-Cleanup=0"),
    )


def naming_files(*releases: str, sources: Path = SOURCES) -> list[Path]:
    """Return the source files, in either of apt's two forms, that name one of `releases`."""
    files = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]
    known = [path for path in files if path.suffix in {".list", ".sources"} and path.is_file()]
    names = [re.escape(release) for release in releases if release]
    word = re.compile(rf"\b({'|'.join(names)})\b") if names else re.compile("(?!)")
    return [path for path in known if word.search(path.read_text(errors="replace"))]


def archives(suite: str) -> list[str]:
    """Return the addresses this machine's own sources give for `suite`, as apt itself reads them.

    Asking apt covers both forms of source files, disabled entries, options and mirror lists.
    """
    listing = run(["apt-get", "update", "--print-uris"])
    pattern = rf"^'(.+)/dists/{re.escape(suite)}/InRelease'"
    return list(dict.fromkeys(re.findall(pattern, listing, flags=re.MULTILINE)))


def run(argv: Sequence[str]) -> str:
    """Run apt in C locale, without questions; its refusal raises `ProgramError`."""
    return capture(argv, env=os.environ | ENVIRONMENT, timeout=PATIENCE)
