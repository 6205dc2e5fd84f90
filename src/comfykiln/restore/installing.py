"""Run a node's install.py, where the image's description allows it, and see what it changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.restore.packages import APP, ENVIRONMENT
from comfykiln.restore.running import StepError, output

if TYPE_CHECKING:
    from comfykiln.restore.plans import GitNode

State = dict[str, tuple[int, int, int]]


def run_install_script(node: GitNode, folder: Path, env: dict[str, str]) -> list[str]:
    """Run `install.py` of the node in `folder`, without a network, and return what it changed.

    Raises `StepError` for a failure and for any change outside the node's own folder.
    """
    before = _state(folder)
    status, said = output([str(ENVIRONMENT / "bin/python"), "install.py"], env=env, cwd=folder)
    print(said, flush=True)
    if status != 0:
        raise StepError(
            f"{node.directory}: its install.py ended with status {status}; its output is above "
            "(there is no network here: what it fetches must be gathered, or the node left out)"
        )
    outside = _difference(before, _state(folder))
    if outside:
        raise StepError(
            f"{node.directory}: its install.py writes outside its folder: {', '.join(outside[:5])}"
        )
    for below, commit in node.checkouts().items():
        _, head = output(["git", "-C", str(folder.parent / below), "rev-parse", "HEAD"], env=env)
        if head.strip() != commit:
            raise StepError(
                f"{node.directory}: its install.py moved the checkout {below} to {head.strip()}"
            )
    _, listed = output(
        ["git", "-C", str(folder), "status", "--porcelain", "--ignored", "-uall"], env=env
    )
    return [line[3:] for line in listed.splitlines()]


def _state(left_out: Path) -> State:
    """Return size, time and mode of everything below /app but the folder itself."""
    found: State = {}
    for parent, folders, names in os.walk(APP):
        folders[:] = [
            name for name in folders if Path(parent) / name not in (left_out, ENVIRONMENT)
        ]
        for name in names:
            path = Path(parent) / name
            stat = path.lstat()
            found[str(path)] = (stat.st_size, stat.st_mtime_ns, stat.st_mode)
    return found


def _difference(before: State, after: State) -> list[str]:
    return sorted(
        path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    )
