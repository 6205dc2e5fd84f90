"""The reference registry (Debian's docker-registry) on loopback, and oras; installed if allowed."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.s3 import free_port, running

from comfykiln.errors import NotPossibleError
from comfykiln.setup import apt, trixie

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER, PASSWORD = "someone", "canary-password"
# bcrypt, cost 4, of the password above.
_HASH = "$2b$04$abcdefghijklmnopqrstuuag0.YlF7tv7WKWN7rgqJ5KkJ9XU2wny"
PROGRAMS = ("docker-registry", "oras")


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A running registry: its address and its log of requests."""

    address: str
    folder: Path

    @property
    def written(self) -> int:
        """The bytes of all blobs that it has."""
        return sum(path.stat().st_size for path in self.folder.rglob("blobs/**/data"))


def ensure() -> None:
    """Return when the programs are there, having installed Debian's where root may do that."""
    if all(shutil.which(name) for name in PROGRAMS):
        return
    system = apt.distribution()
    if system.id != "debian" or os.geteuid() != 0 or os.environ.get("KILN_SETUP") == "never":
        raise NotPossibleError(
            "the registry tests need docker-registry and oras",
            remedy=f"install them (Debian 13: apt-get install {' '.join(PROGRAMS)})",
        )
    if system.codename == "bookworm":  # which has no oras
        with ExitStack() as undo:
            trixie.allow(PROGRAMS, undo=undo)
            undo.pop_all()
        apt.update(system.codename, "trixie")
    else:
        apt.update(system.codename)
    apt.install(PROGRAMS, anywhere=PROGRAMS)


@contextmanager
def serve(folder: Path, *, login: bool = False) -> Iterator[Registry]:
    """Run the registry with its blobs in `folder`; with `login` only USER gets in."""
    ensure()
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    users = folder.parent / f"{folder.name}-users"
    users.write_text(f"{USER}:{_HASH}\n", "utf-8")
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
        **({"auth": {"htpasswd": {"realm": "kiln", "path": str(users)}}} if login else {}),
    }
    path = folder.parent / f"{folder.name}.json"
    path.write_text(json.dumps(config), "utf-8")
    program = shutil.which("docker-registry") or "docker-registry"
    with running([program, "serve", str(path)], port):
        yield Registry(address=f"127.0.0.1:{port}", folder=folder)
