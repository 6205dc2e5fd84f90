"""The three ways of `bench/restore.py`, each run in a container of the builder stage.

    python3 restore_inside.py base|plain|ours|hand

Everything lies where a build step has it: the environment at /app/.venv, ComfyUI at /tree, the
build context of the nodes row at /nodes, mirrors at /mirrors, caches below /var/cache.
Prints one JSON object: phase → [wall seconds, CPU seconds].
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.restore import nodes, packages, sealing
from comfykiln.restore.plans import GitNode, read_plan
from comfykiln.restore.running import network_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

APP, TREE, MIRRORS = Path("/app"), Path("/tree"), Path("/mirrors")
LOCK, FAMILY = Path("/bench/packages.txt"), Path("/bench/family.txt")
PLAN = Path("/nodes/restore.json")
INSTALL = ["uv", "pip", "install", "--no-progress", "--python", "/app/.venv/bin/python"]
GIT_CONFIG = """\
[url "{scheme}/mirrors/github.com/"]
	insteadOf = https://github.com/
[safe]
	directory = *
[protocol "file"]
	allow = always
"""


def run(argv: Sequence[str], *, cwd: Path | None = None, **variables: str) -> None:
    """Run a program; its output goes to the log, its failure ends the measurement."""
    subprocess.run(argv, cwd=cwd, env=os.environ | variables, check=True)


def base() -> dict[str, Callable[[], None]]:
    """Make the environment that all ways start from: the image `core`, with stubs for torch."""

    def make() -> None:
        venv = ["uv", "venv", "--allow-existing", "--seed", "--python", "/usr/bin/python3"]
        run([*venv, "/app/.venv"], **network_environment())
        locked = [*INSTALL, "--no-deps", "--compile-bytecode", "-r", str(LOCK)]
        run(locked, **network_environment())
        stubs = [str(path) for path in sorted(Path("/bench/stubs").iterdir())]
        run([*INSTALL, "--no-deps", "--offline", *stubs])

    return {"base": make}


def plain() -> dict[str, Callable[[], None]]:
    """`comfy node restore-snapshot` as it is; its mirrors' heads are the pins."""
    shutil.copytree(TREE, APP, symlinks=True, dirs_exist_ok=True)

    def restore() -> None:
        comfy = ["comfy", "--skip-prompt", "--workspace", str(APP), "node", "restore-snapshot"]
        settings = {"PIP_CACHE_DIR": "/var/cache/bench-pip", **git_settings()}
        run([*comfy, str(PLAN.with_name("production-snapshot.json"))], **settings, **network())

    return {"restore": restore}


def ours() -> dict[str, Callable[[], None]]:
    """Do what the packages row and the nodes row do, with the very code of the build."""

    def install() -> None:
        wanted = packages.installed_versions() | packages.locked_versions(LOCK)
        # The header of the lock says what may be built, and with which tools.
        packages.uv_install(["--require-hashes", *packages.building(LOCK), "-r", str(LOCK)])
        packages.expect_installed(wanted)

    def seal() -> None:
        sealing.seal(nodes.RESULT, packages.epoch())

    # Only an image's layer is sealed: a phase of its own, which the other ways do not have.
    nodes.seal = lambda _tree, _epoch: None
    return {"packages": install, "nodes": lambda: nodes.restore(PLAN), "seal": seal}


def hand() -> dict[str, Callable[[], None]]:
    """Fetch the pins eight at a time without history, then install with one `uv pip install`."""
    shutil.copytree(TREE, APP, symlinks=True, dirs_exist_ok=True)
    wanted = read_plan(PLAN).git

    def fetch() -> None:
        settings = git_settings("file://")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(partial(fetched, settings), wanted))

    def install() -> None:
        files = [APP / "custom_nodes" / node.directory / "requirements.txt" for node in wanted]
        lines = [word for file in files if file.is_file() for word in ("-r", str(file))]
        held = ["--constraint", str(LOCK), "--override", str(FAMILY)]
        run([*INSTALL, *held, *lines], **network())

    return {"fetch": fetch, "packages": install}


def fetched(settings: Mapping[str, str], node: GitNode) -> None:
    """Fetch and check out one node and its submodules."""
    folder = APP / "custom_nodes" / node.directory
    run(["git", "init", "-q", str(folder)])
    fetch = ["git", "-C", str(folder), "fetch", "-q", "--depth=1", node.url, node.commit]
    run(fetch, **settings)
    run(["git", "-C", str(folder), "checkout", "-q", "FETCH_HEAD"], **settings)
    if node.submodules:
        update = ["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"]
        run(["git", "-C", str(folder), *update], **settings)


def git_settings(scheme: str = "") -> dict[str, str]:
    """Write git's settings that put the mirrors in place of the hosts; return how to use them.

    Only an address with a scheme is fetched from without history.
    """
    config = Path("/tmp/bench-gitconfig")  # noqa: S108  # the container has one user
    config.write_text(GIT_CONFIG.format(scheme=scheme), "utf-8")
    return {"GIT_CONFIG_GLOBAL": str(config), "GIT_TERMINAL_PROMPT": "0"}


def network() -> dict[str, str]:
    """Return the way to the package index, for uv and for pip."""
    ours = network_environment()
    pip = {
        "PIP_INDEX_URL": ours.get("UV_DEFAULT_INDEX"),
        "PIP_EXTRA_INDEX_URL": ours.get("UV_INDEX"),
        "PIP_TRUSTED_HOST": ours.get("UV_INSECURE_HOST"),
        "PIP_CERT": ours.get("SSL_CERT_FILE"),
    }
    said = {name: value for name, value in pip.items() if value}
    return {**ours, **said, "HOME": str(APP.parent / "home"), "DO_NOT_TRACK": "1"}


def expect_pins() -> None:
    """Fail unless every node is on disk at its pin: a fast way that restores nothing is no way."""
    for node in read_plan(PLAN).git:
        folder = APP / "custom_nodes" / node.directory
        folder = folder if folder.is_dir() else Path("/result/app/custom_nodes") / node.directory
        argv = ["git", "-c", "safe.directory=*", "-C", str(folder), "rev-parse", "HEAD"]
        head = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
        if head != node.commit:
            raise SystemExit(f"{node.directory} is at {head or 'nothing'}, not at {node.commit}")


def cpu_seconds() -> float:
    """Return the CPU time of this process and of all that have ended below it."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def main() -> None:
    """Run the phases of one way and print what each took."""
    ways = {"base": base, "plain": plain, "ours": ours, "hand": hand}
    phases = ways[sys.argv[1]]()
    # What programs say goes to the log; only the figures go where this program's caller reads.
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    taken = {}
    for name, phase in phases.items():
        wall, cpu = time.perf_counter(), cpu_seconds()
        phase()
        taken[name] = [time.perf_counter() - wall, cpu_seconds() - cpu]
    if sys.argv[1] != "base":
        expect_pins()
    print(json.dumps(taken), file=told)


if __name__ == "__main__":
    main()
