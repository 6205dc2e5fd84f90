"""Throw-away Debian machines for ./kiln's set-up: containers that are made, spoilt and removed.

Each has python3, git and ca-certificates, the checkout at /checkout (read-only) and a HOME of its
own. An engine inside has its data in a volume of the container, and takes its MTU from the
container's own uplink; nothing of this machine's engine is touched.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHECKOUT = "/checkout"
SOURCES = "/etc/apt/sources.list"
DEB822 = "/etc/apt/sources.list.d/debian.sources"
SOURCE_FILES = {"PYTHONPATH": f"{CHECKOUT}/src", "PYTHONDONTWRITEBYTECODE": "1"}
SETUP = ("python3", "-P", "-m", "comfykiln.setup", "engine")
JUDGED = ("python3", "-P", f"{CHECKOUT}/tests/support/judged.py")
REPACK = """\
set -e
mkdir -p /tmp/older && cd /tmp/older
for name in "$@"; do
    apt-get download --quiet "$name"
    dpkg-deb -R "$name"_*.deb tree
    sed -i 's/^Version: .*/&~older/' tree/DEBIAN/control
    dpkg-deb -Znone -b tree "$name.older"
    dpkg --force-downgrade -i "$name.older"
    rm -r tree "$name"_*.deb
done
"""
HOLD_LOCK = """\
import fcntl, pathlib, sys, time
with open(sys.argv[1], "w") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    pathlib.Path("/locked").touch()
    while pathlib.Path("/locked").exists():
        time.sleep(0.1)
"""


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass(frozen=True, kw_only=True)
class Said:
    """How a program ended, and what it said on both streams."""

    status: int
    out: str
    err: str

    @property
    def remedy(self) -> str:
        """What is to be done, as a person reads it."""
        return self.err.partition("\n  → ")[2]

    @property
    def commands(self) -> list[str]:
        """The commands of the remedy, as a person would type them one after the other."""
        return re.findall("`([^`]+)`", self.remedy)

    @property
    def installed(self) -> set[str]:
        """The packages that are said to be new."""
        found = re.findall(r"changed: installed (.+) \((?:for|before) ", self.err)
        return {name for names in found for name in names.split()}

    @property
    def upgraded(self) -> set[tuple[str, str, str]]:
        """The packages that are said to be upgraded, each with both versions."""
        lines = re.findall(r"changed: upgraded (.+) \((?:for|before) ", self.err)
        found = [
            re.fullmatch(r"(\S+) (\S+) → (\S+)", item) for s in lines for item in s.split(", ")
        ]
        return {(item[1], item[2], item[3]) for item in found if item}


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What apt would be told, and what it would then do: name → old version and releases."""

    packages: list[str]
    changes: dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A running container of one Debian release."""

    name: str
    suite: str

    def run(
        self, *argv: str, environ: Mapping[str, str] | None = None, stdin: str | None = None
    ) -> Said:
        """Run a program as root and return how it ended."""
        given = [f"--env={key}={value}" for key, value in (environ or {}).items()]
        done = subprocess.run(
            ["docker", "exec", "--interactive", "--workdir=/", *given, self.name, *argv],
            capture_output=True,
            text=True,
            check=False,
            input=stdin or "",
        )
        return Said(status=done.returncode, out=done.stdout, err=done.stderr)

    def sh(self, script: str, *arguments: str) -> str:
        """Run a shell script that must end well and return what it printed."""
        done = self.run("sh", "-c", script, "sh", *arguments)
        assert done.status == 0, done.out + done.err
        return done.out.strip()

    def type(self, command: str) -> None:
        """Do what a remedy says, as a person does who says yes to a question."""
        done = self.run("sh", "-c", command, stdin="y\n")
        assert done.status == 0, done.out + done.err

    def write(self, path: str, text: str) -> None:
        done = self.run(
            "sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1"', "sh", path, stdin=text
        )
        assert done.status == 0, done.err

    def kiln(self, **environ: str) -> Said:
        """Set an engine up, as ./kiln does."""
        return self.run(*SETUP, environ=SOURCE_FILES | environ)

    def kiln_watched(
        self, sign: str, then: Callable[[], None], *, only_judge: bool = False
    ) -> Said:
        """Set an engine up, and do something when `sign` is said for the first time."""
        program = (*JUDGED, "judge", "120") if only_judge else SETUP
        given = [f"--env={key}={value}" for key, value in SOURCE_FILES.items()]
        lines: list[str] = []
        with subprocess.Popen(
            ["docker", "exec", "--workdir=/", *given, self.name, *program],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            for line in child.stderr or ():
                if sign in line and sign not in "".join(lines):
                    then()
                lines.append(line)
        return Said(status=child.returncode, out="", err="".join(lines))

    def judge(self, **environ: str) -> tuple[Judgement | None, Said]:
        """Do all of the set-up but the installation; without a judgement, it ended before that."""
        said = self.run(*JUDGED, "judge", "120", environ=SOURCE_FILES | environ)
        lines = [line for line in said.out.splitlines() if line.startswith("{")]
        return (Judgement(**json.loads(lines[0])) if lines else None), said

    def kiln_with_patience(self, seconds: int) -> Said:
        """Set an engine up with so many seconds of patience for another apt."""
        return self.run(*JUDGED, "install", str(seconds), environ=SOURCE_FILES)

    def connect(self) -> Said:
        """Ask for the engine as a task does that wants to build."""
        program = (
            "from comfykiln.engine.engine import connect\n"
            "from comfykiln.errors import KilnError\n"
            "import sys\n"
            "try: print(connect().version)\n"
            "except KilnError as error: print(error, file=sys.stderr); sys.exit(error.exit_code)\n"
        )
        return self.run("python3", "-P", "-c", program, environ=SOURCE_FILES)

    def packages(self) -> dict[str, str]:
        """Return what dpkg holds for installed: name → version."""
        form = "${db:Status-Status} ${Package} ${Version}\\n"
        rows = self.sh(f"dpkg-query --show -f '{form}'").splitlines()
        return {row.split()[1]: row.split()[2] for row in rows if row.startswith("installed ")}

    def pid(self) -> str:
        """Return the process of the daemon that answers."""
        return self.sh("cat /run/docker.pid")

    def start_daemon(self) -> str:
        """Start dockerd as a person would, and return its process once it listens."""
        docker("exec", "--detach", self.name, "sh", "-c", "exec dockerd >/var/log/own.log 2>&1")
        return self.sh(
            "for i in $(seq 150); do\n"
            "    grep -q 'API listen' /var/log/own.log && exec cat /run/docker.pid\n"
            "    sleep 0.2\n"
            "done\n"
            "cat /var/log/own.log; exit 1"
        )

    def make_older(self, *names: str) -> None:
        """Give the machine older versions of packages, which its release has newer ones of."""
        self.sh(REPACK, *names)

    def add_package(self, name: str, control: str = "", postinst: str = "") -> Said:
        """Make a package and install it."""
        fields = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x\n{control}"
        self.write(f"/root/{name}/DEBIAN/control", f"{fields}Description: x\n")
        self.write(f"/root/{name}/DEBIAN/postinst", f"#!/bin/sh\n{postinst}\n")
        self.sh(
            f"chmod 755 /root/{name}/DEBIAN/postinst && dpkg-deb -b /root/{name} /root/{name}.deb"
        )
        return self.run("dpkg", "-i", f"/root/{name}.deb")

    def hold_lock(self, path: str) -> None:
        """Let another program hold one of apt's locks until it is released."""
        docker("exec", "--detach", self.name, "python3", "-c", HOLD_LOCK, path)
        self.sh("until [ -e /locked ]; do sleep 0.1; done")

    def release_lock(self) -> None:
        self.sh("rm /locked")

    def ours(self) -> list[str]:
        """Return the files that a set-up writes and, after a failure, takes back."""
        places = (
            "/etc/docker/daemon.json",
            "/etc/apt/sources.list.d/comfykiln-trixie.sources",
            "/etc/apt/preferences.d/comfykiln-trixie",
        )
        return self.sh('for p in "$@"; do [ ! -e "$p" ] || echo "$p"; done', *places).split()
