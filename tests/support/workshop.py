"""Where throw-away Debian machines are made: their images and volumes, and the removal of all."""

from __future__ import annotations

import contextlib
import json
import re
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.machines import CHECKOUT, SOURCES, Machine, docker

from comfykiln.engine.engine import client
from comfykiln.network.access import host_access
from comfykiln.network.host import settings_of_host
from comfykiln.origins import apt, bootstrap, rootfs_image
from comfykiln.plan.origins import BaseSpec
from comfykiln.system import files
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
INCLUDE = ("python3", "git", "ca-certificates")
PYTHON = {"bookworm": "3.11", "trixie": "3.13"}
CA = "/etc/kiln-ca.crt"
KEPT_WEEKS = 4


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Where machines are made; leaves nothing in the engine when it is closed.

    The machines of a suite share the packages that they fetch, and unless they are bare the package
    lists, those of trixie and of backports included: in volumes, as images of them take long.
    """

    label: str = field(default_factory=lambda: f"comfykiln.machines={uuid.uuid4().hex}")
    made: dict[tuple[str, str], str] = field(default_factory=dict)

    @contextlib.contextmanager
    def machine(
        self, suite: str, *, image: str = "", bare: bool = False, engine: bool = False
    ) -> Iterator[Machine]:
        """Give a running machine: `bare` of lists, or not; able to run an `engine`, or not."""
        lists = () if bare else (f"--volume={self._lists(suite)}:/var/lib/apt/lists",)
        with self._container(suite, image or self._base(suite), *lists, engine=engine) as machine:
            yield machine

    @contextlib.contextmanager
    def cut_off(self, suite: str) -> Iterator[Machine]:
        """Give a bare machine that reaches nothing."""
        with self._container(suite, self._base(suite), "--network=none") as machine:
            yield machine

    @contextlib.contextmanager
    def _container(
        self, suite: str, image: str, *options: str, engine: bool = False
    ) -> Iterator[Machine]:
        name = f"comfykiln-machine-{uuid.uuid4().hex}"
        runs = ["--privileged", "--volume=/var/lib/docker"] if engine else []
        try:
            docker(
                *("run", "--detach", "--init", f"--name={name}", f"--label={self.label}", *runs),
                *(f"--volume={ROOT}:{CHECKOUT}:ro", *options),
                f"--volume={self._volume('archives', suite)}:/var/cache/apt/archives",
                *(image, "sleep", "1800"),
            )
            machine = Machine(name=name, suite=suite)
            if not image.startswith("comfykiln-machine:later"):
                self._connect(machine)
            yield machine
        finally:
            docker("rm", "--force", "--volumes", name)

    def _connect(self, machine: Machine) -> None:
        """Give a machine this host's way to Debian's archive."""
        settings = settings_of_host(None)
        conf = apt.network_conf(settings)
        if settings.ca_bundle:
            machine.write(CA, settings.ca_bundle.read_text("utf-8"))
            conf = conf.replace(str(settings.ca_bundle), CA)
        machine.write("/etc/apt/apt.conf.d/00network", conf)
        machine.write(SOURCES, apt.debian_sources(machine.suite))

    def keep(self, machine: Machine, folder: Path) -> str:
        """Return an image of the machine as it is now, with no list of packages."""
        machine.sh("rm -rf /var/lib/apt/lists/*")
        tar = folder / "machine.tar"
        docker("export", f"--output={tar}", machine.name)
        image = self._load("later", machine.suite, tar)
        tar.unlink()
        return image

    def _base(self, suite: str) -> str:
        if ("base", suite) not in self.made:
            self._load("base", suite, _root_files(suite))
        return self.made["base", suite]

    def _load(self, kind: str, suite: str, tar: Path) -> str:
        """Load a root file system; the engine would pack an imported one, which takes long."""
        name = f"comfykiln-machine:{kind}-{suite}-{self.label.rpartition('=')[2]}"
        self.made[kind, suite] = name
        epoch = bootstrap.EPOCH
        rootfs_image.ensure_loaded(client(), name, tar, files.sha256_file(tar), epoch=epoch)
        return name

    def _lists(self, suite: str) -> str:
        known = ("lists", suite) in self.made
        volume = self._volume("lists", suite)
        if not known:
            options = f"--volume={volume}:/var/lib/apt/lists"
            with self._container(suite, self._base(suite), options) as machine:
                own = apt.debian_sources(suite)
                every = own + apt.debian_sources("trixie") + backports(own, suite)
                machine.write(SOURCES, "\n".join(dict.fromkeys(every.splitlines())) + "\n")
                machine.sh("apt-get update --quiet --error-on=any")
        return volume

    def _volume(self, kind: str, suite: str) -> str:
        if (kind, suite) not in self.made:
            self.made[kind, suite] = docker("volume", "create", f"--label={self.label}")
        return self.made[kind, suite]

    def close(self) -> None:
        """Remove every container, image and volume of this workshop."""
        ours = f"--filter=label={self.label}"
        containers = docker("ps", "--all", "--quiet", ours).split()
        images = [name for name in self.made.values() if name.startswith("comfykiln-machine:")]
        volumes = docker("volume", "ls", "--quiet", ours).split()
        if containers:
            docker("rm", "--force", "--volumes", *containers)
        for name in images:
            docker("image", "rm", "--force", name)
        if volumes:
            docker("volume", "rm", "--force", *volumes)


def backports(sources: str, suite: str) -> str:
    """Return the line of a sources.list for the suite's backports."""
    (line,) = [line for line in sources.splitlines() if f" {suite} " in line]
    return line.replace(f" {suite} ", f" {suite}-backports ") + "\n"


def as_deb822(sources: str) -> str:
    """Return the text of a .sources file that says the same as a sources.list."""
    found = [
        re.fullmatch(r"deb \[signed-by=(.+)\] (\S+) (\S+) main", s) for s in sources.split("\n")
    ]
    return "\n".join(
        f"Types: deb\nURIs: {line[2]}\nSuites: {line[3]}\nComponents: main\nSigned-By: {line[1]}\n"
        for line in found
        if line
    )


def _root_files(suite: str) -> Path:
    """Return the archive of a suite's root file system, made once a week in the user's store."""
    store = Store.of_user()
    for age in range(1, KEPT_WEEKS + 1):
        _forget(_spec(suite, age), store)
    made = bootstrap.bootstrapped(_spec(suite), host_access(store))
    return store.path(made.sha256)


def _spec(suite: str, weeks_ago: int = 0) -> BaseSpec:
    week = time.strftime("%G-%V", time.gmtime(time.time() - weeks_ago * 7 * 86_400))
    return BaseSpec(ref=f"machines:{week}", suite=suite, python=PYTHON[suite], include=INCLUDE)


def _forget(spec: BaseSpec, store: Store) -> None:
    note = bootstrap.note_of(spec, store)
    if note.is_file():
        raw: dict[str, Any] = json.loads(note.read_bytes())
        store.path(raw["sha256"]).unlink(missing_ok=True)
        note.unlink()
