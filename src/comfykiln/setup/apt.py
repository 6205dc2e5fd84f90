"""Debian and Ubuntu: which one this is, and packages from its own archive."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import NotPossibleError
from comfykiln.setup import apt_lock
from comfykiln.setup.apt_plan import own_releases, read_plan, refusals
from comfykiln.system import console
from comfykiln.system.process import ProgramError, capture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from comfykiln.setup.apt_plan import AptPlan

OS_RELEASE = Path("/etc/os-release")
SOURCES = Path("/etc/apt")
PATIENCE = 1800  # seconds for a hundred megabytes over a slow line

# An engine is no reason to restart other services, to wait for a person or to hang on a lock.
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C"}
UNMET = re.compile(r"^The following packages have unmet dependencies:\n((?: .*\n)+)", re.MULTILINE)
TAIL_LINES = 8
ASKED_REMEDY = "do what apt asks for there, and start the task again"
UNKNOWN_REMEDY = (
    "fix what keeps apt from its archive (`apt-get update` shows it), and start the task again"
)
INSTALL = (
    *("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "--no-remove"),
    *("-o", "DPkg::Lock::Timeout=0", "-o", "Dpkg::Options::=--force-confold"),
)
# Allowed everything, since nothing is done: a refusal of apt's would hide the rest of its plan.
SIMULATE = (
    *("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "--simulate"),
    *("--allow-downgrades", "--allow-change-held-packages", "--allow-remove-essential"),
)
UPDATE = (
    *("apt-get", "update", "--quiet", "--error-on=any"),
    *("-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"),
    *("-o", "Acquire::https::Timeout=20"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """What /etc/os-release says: `id` is "debian", "ubuntu", …; `codename` may be empty.

    `rolling` says that there is no release number: Debian testing and unstable.
    """

    id: str
    codename: str
    name: str
    rolling: bool = False

    @property
    def has_packages(self) -> bool:
        """Tell whether this is a system whose packages ./kiln knows by name."""
        return self.id in {"debian", "ubuntu"} and shutil.which("apt-get") is not None


def distribution(path: Path | None = None) -> Distribution:
    """Read which distribution this is; without the file (macOS) every field is empty."""
    fields: dict[str, str] = {}
    path = OS_RELEASE if path is None else path
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            fields[name.strip()] = value.strip().strip("\"'")
    return Distribution(
        id=fields.get("ID", ""),
        codename=fields.get("VERSION_CODENAME", ""),
        name=fields.get("PRETTY_NAME", ""),
        rolling="VERSION_ID" not in fields,
    )


def install(
    packages: Sequence[str], *, anywhere: Sequence[str] = (), untouched: Sequence[str] = ()
) -> None:
    """Install `packages` from the lists at hand, and tell each change that was made.

    `anywhere` names the packages that may come from another release than the machine's own,
    `untouched` those that are in use and stay as they are. A plan that does more than that raises
    `NotPossibleError` before it is carried out, and so does a failure of apt's, after what was
    installed until then has been told. Once another apt has been waited for, it is judged anew.
    """
    apt_lock.waiting(partial(_judge_and_install, packages, anywhere=anywhere, untouched=untouched))
    now = installed()
    lacking = [name for name in packages if name not in now]
    if lacking:
        raise NotPossibleError(
            f"apt-get reported success, but {' '.join(lacking)} is not installed",
            remedy=f"run `apt-get install {' '.join(lacking)}` and look at what it says",
        )


def _judge_and_install(
    packages: Sequence[str], *, anywhere: Sequence[str], untouched: Sequence[str]
) -> None:
    """Install what may be installed and tell it; a lock of another's is left as apt's error."""
    words = " ".join(packages)
    judged(packages, anywhere=anywhere, untouched=untouched)
    before = installed()
    try:
        run([*INSTALL, *packages])
    except ProgramError as error:
        if apt_lock.is_locked_out(error):
            raise
        _tell(before, installed(), f"before `apt-get install {words}` failed")
        raise failure(words, error) from error
    _tell(before, installed(), f"for {words}")


def failure(words: str, error: ProgramError) -> NotPossibleError:
    """Return what a refusal of apt's means: its own words, and where to go on."""
    unmet = UNMET.search(error.output)
    said = unmet[1].splitlines() if unmet else []
    said += [line for line in error.output.splitlines() if line[:2] in {"E:", "W:"}]
    shown = "\n    ".join(said or error.output.splitlines()[-TAIL_LINES:])
    unknown = re.search("Unable to locate package|no installation candidate", error.output)
    return NotPossibleError(
        f"apt-get could not install {words}:\n    {shown}",
        remedy=UNKNOWN_REMEDY if unknown else ASKED_REMEDY,
    )


def judged(
    packages: Sequence[str], *, anywhere: Sequence[str] = (), untouched: Sequence[str] = ()
) -> AptPlan:
    """Return what apt would do if it were allowed everything; what it may not do is an error."""
    judge = partial(_refuse, packages=packages, anywhere=anywhere, untouched=untouched)
    try:
        plan = read_plan(run([*SIMULATE, *packages]))
    except ProgramError as error:
        _judge_without_holds(packages, judge)
        raise failure(" ".join(packages), error) from error
    judge(plan)
    return plan


def _judge_without_holds(packages: Sequence[str], judge: Callable[[AptPlan], None]) -> None:
    """Refuse what apt would do if nothing were on hold, as its own words name no hold."""
    with suppress(ProgramError):
        judge(read_plan(run([*SIMULATE, "--ignore-hold", *packages])))


def _refuse(
    plan: AptPlan, packages: Sequence[str], *, anywhere: Sequence[str], untouched: Sequence[str]
) -> None:
    system = distribution()
    policy = run(["apt-cache", "policy"])
    own = own_releases(
        policy, distribution=system.id, codename=system.codename, rolling=system.rolling
    )
    held = run(["apt-mark", "showhold"]).split()
    faults = refusals(
        plan, own=own, anywhere=anywhere, untouched=untouched, held=held, is_older=is_older
    )
    if faults:
        names = sorted({change.name for change in plan.changes if change.is_one_of(held)})
        unhold = f"`apt-mark unhold {' '.join(names)}`, or " if names else ""
        raise NotPossibleError(
            "\n    ".join([f"./kiln does not install {' '.join(packages)} here:", *faults]),
            remedy=f"{unhold}install them by hand where that is what you want (docs/setup.md); "
            "then start the task again",
        )


def is_older(version: str, other: str) -> bool:
    """Tell whether `version` comes before `other` in dpkg's order."""
    try:
        capture(["dpkg", "--compare-versions", version, "lt", other])
    except ProgramError:
        return False
    return True


def installed() -> dict[str, str]:
    """Return the version of each package that dpkg holds for installed, by name."""
    form = "${db:Status-Status}\t${Package}\t${Version}\n"
    rows = (line.split("\t") for line in run(["dpkg-query", "--show", "-f", form]).splitlines())
    return {name: version for status, name, version in rows if status == "installed"}


def _tell(before: dict[str, str], now: dict[str, str], why: str) -> None:
    """Say what came and what was upgraded, as dpkg's own list has it."""
    new = [name for name in now if name not in before]
    newer = [
        f"{name} {before[name]} → {version}"
        for name, version in now.items()
        if before.get(name, version) != version
    ]
    if new:
        console.note(f"changed: installed {' '.join(new)} ({why})")
    if newer:
        console.note(f"changed: upgraded {', '.join(newer)} ({why})")


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
            read_lists(only=Path(folder) if chosen else None)
        except ProgramError as error:
            faults = [line for line in error.output.splitlines() if line[:2] in {"E:", "W:"}]
            console.warn("apt could not read every package list:\n    " + "\n    ".join(faults))


def read_lists(*, only: Path | None = None) -> None:
    """Run `apt-get update` with the sources in the folder `only`, or with all of them."""
    chosen = () if only is None else only_sources(only)
    apt_lock.waiting(partial(run, [*UPDATE, *chosen]))


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
