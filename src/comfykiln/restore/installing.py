"""Run a node's install.py, where the image's description allows it, and see what it changes."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from comfykiln.restore.packages import APP, ENVIRONMENT
from comfykiln.restore.running import StepError, output
from comfykiln.restore.script import Ended, run_to_end

SECONDS = 600
RESULT = Path("/result")
State = dict[str, tuple[int, int, int]]
FOLDER = (0, 0, 0)


def run_install_script(node: str, folder: Path, env: dict[str, str]) -> list[str]:
    """Run `install.py` of the node in `folder`, without a network, and return what it changed.

    `node` is its name for messages; the changes are paths below its folder.

    Raises `StepError` for a failure, for one that does not end, for processes that it leaves
    behind, for any change outside the node's own folder, and for a checkout that is at another
    commit afterwards.
    """
    before, pinned = _state(), _commits(folder, env)
    argv = [str(ENVIRONMENT / "bin/python"), "install.py"]
    ended = run_to_end(argv, env=env, cwd=folder, seconds=SECONDS)
    print(ended.text, flush=True)
    _require_end(node, ended)
    after = _state()
    changed = _difference(before, after)
    inside = [path for path in changed if path.startswith(f"{folder}/")]
    outside = [path for path in changed if path not in inside]
    if outside:
        raise StepError(
            f"{node}: its install.py writes outside its folder: {', '.join(outside[:5])}"
        )
    if _commits(folder, env) != pinned:
        raise StepError(f"{node}: its install.py moved the checkout:\n{_commits(folder, env)}")
    made = [path.removeprefix(f"{folder}/") for path in inside if after.get(path) != FOLDER]
    return [path for path in made if ".git" not in path.split("/")]


def _require_end(node: str, ended: Ended) -> None:
    """Raise `StepError` unless the script came to a good end, and all that it started with it."""
    if ended.status is None:
        raise StepError(
            f"{node}: its install.py did not end within {SECONDS} s; its output is above "
            "(there is no terminal and no network here, should it wait for either)"
        )
    if ended.status != 0:
        raise StepError(
            f"{node}: its install.py ended with status {ended.status}; its output is above "
            "(there is no network here: what it fetches must be gathered, or the node left out)"
        )
    if ended.left:
        raise StepError(
            f"{node}: its install.py leaves processes behind: {'; '.join(ended.left[:5])}"
        )


def _commits(folder: Path, env: dict[str, str]) -> str:
    """Return which commits a checkout and its submodules are at; empty for no checkout."""
    if not (folder / ".git").exists():
        return ""
    _, head = output(["git", "-C", str(folder), "rev-parse", "HEAD"], env=env)
    _, below = output(["git", "-C", str(folder), "submodule", "status", "--recursive"], env=env)
    return head + below


def _state() -> State:
    """Return size, time and mode of all below /app but the environment, which is mounted.

    Also of /result, from which the row is taken afterwards. Of folders only that they are there.
    """
    found: State = {}
    for parent, folders, names in itertools.chain(os.walk(APP), os.walk(RESULT)):
        folders[:] = [name for name in folders if Path(parent) / name != ENVIRONMENT]
        found |= {f"{parent}/{name}": FOLDER for name in folders}
        for name in names:
            path = Path(parent) / name
            stat = path.lstat()
            found[str(path)] = (stat.st_size, stat.st_mtime_ns, stat.st_mode)
    return found


def _difference(before: State, after: State) -> list[str]:
    return sorted(
        path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    )
