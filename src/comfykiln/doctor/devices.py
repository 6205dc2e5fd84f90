"""The accelerators of this host: device files, their owners and vendors, what programs say."""

from __future__ import annotations

import grp
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError
from comfykiln.system.process import ProgramError, SilentProgramError, capture

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from comfykiln.plan.accelerators import Accelerator

CDI_FOLDERS = ("etc/cdi", "var/run/cdi")
HOST = Path("/")
RENDER_NODES = "/dev/dri/"
PATIENCE = 20  # seconds for a driver's program to answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A device file: whose group it is, and whether its group or others read and write it.

    `vendor` is the PCI vendor of a render node, "" where the system does not tell.
    """

    path: str
    group: int
    open: bool
    vendor: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What a driver's program printed; `text` is None where that is not known, for `fault`."""

    text: str | None
    fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Devices:
    """Accelerators as a container would need them.

    `nodes` are by pattern, `said` by program (one that is not installed is left out), `groups` are
    the numbers of those that the targets name.
    """

    nodes: Mapping[str, tuple[Node, ...]] = field(default_factory=dict)
    said: Mapping[tuple[str, ...], Said] = field(default_factory=dict)
    nvidia_cdi: bool = False
    groups: Mapping[str, int] = field(default_factory=dict)


def read_devices(accelerators: Iterable[Accelerator], host: Path = HOST) -> Devices:
    """Read what the host with the root folder `host` has of what the accelerators name."""
    wanted = list(accelerators)
    programs = {entry.program for entry in wanted if entry.program}
    named = {name for entry in wanted for name in entry.groups}
    cdi = (path.name for folder in CDI_FOLDERS for path in (host / folder).glob("*"))
    return Devices(
        nodes={name: find_nodes(name, host) for entry in wanted for name in entry.nodes},
        said={argv: _ask(argv) for argv in sorted(programs) if shutil.which(argv[0])},
        nvidia_cdi=any(name.startswith("nvidia") for name in cdi),
        groups={entry.gr_name: entry.gr_gid for entry in grp.getgrall() if entry.gr_name in named},
    )


def find_nodes(pattern: str, host: Path = HOST) -> tuple[Node, ...]:
    """Return the device files that match a pattern such as `/dev/dri/renderD*`, by name.

    A folder that matches, such as `/dev/accel`, stands for the device files in it.
    """
    matches = sorted(host.glob(pattern.lstrip("/")))
    found = [
        file for path in matches for file in (sorted(path.iterdir()) if path.is_dir() else [path])
    ]
    return tuple(_node(path, host) for path in found if path.is_char_device())


def _node(path: Path, host: Path) -> Node:
    facts = path.stat()
    rights = (stat.S_IRGRP | stat.S_IWGRP, stat.S_IROTH | stat.S_IWOTH)
    return Node(
        path=f"/{path.relative_to(host)}",
        group=facts.st_gid,
        open=any(facts.st_mode & both == both for both in rights),
        vendor=_vendor(host / "sys/class/drm" / path.name / "device/vendor"),
    )


def _vendor(file: Path) -> str:
    return file.read_text(encoding="ascii", errors="replace").strip() if file.is_file() else ""


def _ask(argv: tuple[str, ...]) -> Said:
    try:
        return Said(text=capture(argv, timeout=PATIENCE))
    except ProgramError as error:
        first = next((line.strip() for line in error.output.splitlines() if line.strip()), "")
        return Said(text="", fault=first or f"it ended with status {error.status}")
    except SilentProgramError:
        return Said(text=None, fault=f"gave no answer within {PATIENCE} s")
    except KilnError as error:
        return Said(text=None, fault=error.message)
