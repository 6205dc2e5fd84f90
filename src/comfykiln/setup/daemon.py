"""The Docker daemon of this machine: settings for a fresh engine, start, first answer."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import NotPossibleError
from comfykiln.network import pip
from comfykiln.setup import engine_info
from comfykiln.system import console, files, process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

SETTINGS = Path("/etc/docker/daemon.json")
DATA = Path("/var/lib/docker")
LOG = Path("/var/log/dockerd.log")
PID = Path("/run/docker.pid")
SYSTEMD = Path("/run/systemd/system")
ROUTES = Path("/proc/net/route")
LINKS = Path("/sys/class/net")
ETHERNET_MTU = 1500  # bytes; what Docker assumes
LOG_LINES = 8
PATIENCE = 60  # seconds until the daemon must answer
DEFAULT_ROUTE = "00000000"
SYSTEM_PATH = ":/usr/local/sbin:/usr/sbin:/sbin"


def configure(*, undo: ExitStack) -> None:
    """Write the settings of a fresh engine; settings that are there already stay untouched."""
    if SETTINGS.exists():
        console.note(f"kept: {SETTINGS} as it is")
        return
    proxies = pip.proxies(os.environ)
    found = settings(mtu=uplink_mtu(), proxies=proxies, fresh=is_fresh(DATA))
    # A proxy's address may hold a password.
    files.write_text(SETTINGS, json.dumps(found, indent=2) + "\n", mode=0o600)
    undo.callback(take_back, SETTINGS)
    console.note(f"changed: {SETTINGS} ({', '.join(sorted(found)) or 'empty'})")


def take_back(path: Path) -> None:
    """Remove a file of ours after a failed installation, and say so."""
    path.unlink()
    console.note(f"taken back: {path}")


def settings(*, mtu: int | None, proxies: Mapping[str, str], fresh: bool) -> dict[str, object]:
    """Return the daemon's settings for this machine.

    The containerd image store, unless images of the older store are there, which it would hide;
    an MTU only where the uplink carries less than Ethernet does, as larger frames would be lost;
    the proxies of whoever starts the set-up, since a service does not inherit them.
    """
    found: dict[str, object] = {}
    if fresh:
        found["features"] = {"containerd-snapshotter": True}
    if mtu is not None and mtu < ETHERNET_MTU:
        found["mtu"] = mtu
    names = {
        "HTTP_PROXY": "http-proxy",
        "HTTPS_PROXY": "https-proxy",
        "NO_PROXY": "no-proxy",
    }
    chosen = {key: proxies[name] for name, key in names.items() if name in proxies}
    if chosen:
        found["proxies"] = chosen
    return found


def is_fresh(data: Path) -> bool:
    """Tell whether the engine's data folder holds no images of the older store."""
    return not (data / "image").exists()


def uplink_mtu(routes: Path = ROUTES, links: Path = LINKS) -> int | None:
    """Return the MTU, in bytes, of the interface of the default IPv4 route, if there is one."""
    if not routes.is_file():
        return None
    for line in routes.read_text(encoding="ascii").splitlines()[1:]:
        name, destination = line.split()[:2]
        mtu = links / name / "mtu"
        if destination == DEFAULT_ROUTE and mtu.is_file():
            return int(mtu.read_text(encoding="ascii"))
    return None


def program() -> str | None:
    """Return where dockerd is, also when the person's PATH lacks the system folders."""
    return shutil.which("dockerd", path=_system_path())


def _system_path() -> str:
    return os.environ.get("PATH", "") + SYSTEM_PATH


def start() -> None:
    """Start the daemon, by the service manager where one runs, and wait until it answers.

    A daemon that gives up or is silent for `PATIENCE` seconds raises `NotPossibleError` with the
    end of its log.
    """
    log_from = LOG.stat().st_size if LOG.exists() else 0
    runs = _start_service() if SYSTEMD.is_dir() else _start_alone()
    end = time.monotonic() + PATIENCE
    while not engine_info.ask().answers:
        # Asked once more, as another dockerd that was just starting makes this one give up.
        if time.monotonic() > end or not (runs() or engine_info.ask().answers):
            raise silent(log_tail(log_from))
        time.sleep(0.25)


def _start_alone() -> Callable[[], bool]:
    """Start dockerd in the background; returns what tells whether it still runs.

    It looks for iptables and docker-proxy on its PATH, which may lack the system folders (`su`).
    """
    environment = os.environ | {"PATH": _system_path()}
    runs = process.start_detached([program() or "dockerd"], log=LOG, env=environment)
    console.note(f"changed: dockerd started in the background, its log is {LOG}")
    return runs


def _start_service() -> Callable[[], bool]:
    try:
        process.capture(["systemctl", "enable", "--now", "docker.service"])
    except process.ProgramError as error:
        raise silent(log_tail(0)) from error
    console.note("changed: docker.service enabled and started")
    return lambda: "failed to start daemon" not in log_tail(0)


def silent(log: str) -> NotPossibleError:
    """Return the error for a daemon that does not answer, with the end of its log."""
    return NotPossibleError(
        f"the Docker daemon does not answer; the end of its log:\n{log}",
        remedy="fix what the log names (a container needs --privileged and a volume at "
        f"{DATA} to run an engine) and start the task again",
    )


def log_tail(log_from: int) -> str:
    """Return the last lines of the daemon's log, wherever it writes one.

    `log_from` is the size in bytes its file had before this start: older lines are another's.
    """
    if SYSTEMD.is_dir():
        argv = ["journalctl", "--unit=docker.service", "--no-pager", f"--lines={LOG_LINES}"]
        text = process.capture(argv, statuses=(0, 1))
    else:
        text = LOG.read_bytes()[log_from:].decode("utf-8", "replace")
    return "\n".join(f"    {line}" for line in text.splitlines()[-LOG_LINES:])
