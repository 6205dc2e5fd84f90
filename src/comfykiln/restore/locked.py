"""The packages row: one uv installation from the hashed lock, then packages built from git.

No hash of an index covers a package from git: its identity is the commit, whose objects the host
has gathered and git hashes again here. A wheel is built from the commit's files and installed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from comfykiln.restore.packages import (
    APP,
    ENVIRONMENT,
    building,
    create_environment,
    epoch,
    expect_installed,
    installed_versions,
    locked_versions,
    normalized,
    uv_install,
)
from comfykiln.restore.running import StepError, network_environment, run
from comfykiln.restore.sealing import seal

WORK = Path("/tmp/sources")  # noqa: S108  # a build stage has one user


def install(lock: Path) -> None:
    """Make the environment and install exactly the lock; judged by what the environment lists.

    `sources.json` beside the lock names the packages from git.
    """
    create_environment()
    uv_install(["--require-hashes", *building(lock), "-r", str(lock)])
    wanted = locked_versions(lock)
    expect_installed(wanted)
    sources = json.loads(lock.with_name("sources.json").read_text("utf-8"))["sources"]
    for source in sources:
        _install_source(source, lock)
    if sources:
        _expect_sources(wanted, sources)
    seal(APP, epoch())


def _install_source(source: dict[str, Any], lock: Path) -> None:
    folder = WORK / source["name"]
    for part in source["repositories"]:
        pack = lock.with_name("packs") / f"{part['sha256']}.pack"
        _check_out(folder / part["mount"], part["commit"], pack)
    wheels = WORK / f"{source['name']}-wheel"
    argv = ["uv", "build", "--wheel", "--quiet", "--python", str(ENVIRONMENT / "bin/python")]
    tools = [word for word in building(lock) if word.endswith("build-constraints.txt")]
    argv += [word for path in tools for word in ("--build-constraints", path)]
    argv += ["--out-dir", str(wheels), str(folder / source["subdirectory"])]
    run(argv, env=network_environment())
    found = sorted(wheels.glob("*.whl"))
    if len(found) != 1:
        raise StepError(f"{source['name']}: its commit gives {len(found)} wheels, not one")
    uv_install([str(found[0])])
    _write_origin(source)


def _check_out(folder: Path, commit: str, pack: Path) -> None:
    """Write the commit's files; git hashes every object of the pack on the way."""
    run(["git", "init", "--quiet", "--template=", str(folder)])
    here = ["git", "-C", str(folder)]
    run([*here, "index-pack", "--stdin"], stdin=pack)
    (folder / ".git" / "shallow").write_text(f"{commit}\n", "ascii")
    run([*here, "checkout", "--quiet", "--detach", commit])


def _write_origin(source: dict[str, Any]) -> None:
    """Say in the package's metadata where it comes from, as installers do for git (PEP 610)."""
    info = _metadata(source["name"])
    origin: dict[str, Any] = {
        "url": source["url"],
        "vcs_info": {"vcs": "git", "commit_id": source["commit"]},
    }
    if source["subdirectory"]:
        origin["subdirectory"] = source["subdirectory"]
    data = json.dumps(origin, sort_keys=True).encode()
    (info / "direct_url.json").write_bytes(data)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    name = f"{info.name}/direct_url.json"
    record = info / "RECORD"
    lines = [line for line in record.read_text("utf-8").splitlines() if line.split(",")[0] != name]
    record.write_text(
        "".join(f"{line}\n" for line in [*lines, f"{name},sha256={digest},{len(data)}"])
    )


def _metadata(name: str) -> Path:
    """Return the folder of the installed package's metadata."""
    folders = ENVIRONMENT.glob("lib/python3.*/site-packages/*.dist-info")
    found = [path for path in folders if normalized(path.name.partition("-")[0]) == name]
    if len(found) != 1:
        raise StepError(f"{name}: built from git, but not installed under that name")
    return found[0]


def _expect_sources(wanted: dict[str, str], sources: list[dict[str, Any]]) -> None:
    """Raise `StepError` unless exactly the lock and the packages from git are installed."""
    found = installed_versions()
    own = {
        source["name"]: found.get(source["name"], "the version of its commit") for source in sources
    }
    expect_installed({**wanted, **own})
    for name, version in own.items():
        print(f"from git: {name} {version}", flush=True)
