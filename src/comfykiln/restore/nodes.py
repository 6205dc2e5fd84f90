"""The custom nodes row: comfy-cli restores the snapshot, and what is on disk judges it.

`comfy node restore-snapshot` exits 0 whatever happens and clones branch heads instead of pins
(both measured with comfy-cli 1.23.0), so it is given mirrors whose only branch is the pin, and
neither its exit status nor its output is taken for success.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfykiln.restore.packages import APP, epoch
from comfykiln.restore.running import StepError, output, run
from comfykiln.restore.sealing import seal

SNAPSHOT = APP / "production-snapshot.json"
CUSTOM_NODES = APP / "custom_nodes"
TREE = Path("/tree")
# Where this row is copied from: /app itself holds mounts of other rows here.
RESULT = Path("/result/app")
# Lines by which comfy-cli 1.23.0 and its Manager show a failure while exiting 0.
FAILURE_SIGNS = re.compile(
    r"Execution error|\[ +FAILED +\]|^ERROR:|^Traceback|install script failed|Failed to restore",
    re.MULTILINE,
)
# True here and harmless: this row must not depend on the target's torch, so none is in reach.
EXPECTED = "ERROR:root:[ComfyUI-Manager] PyTorch is not installed"


@dataclass(frozen=True, kw_only=True, slots=True)
class GitNode:
    """One node of the snapshot: its URL, the 40-hex commit it is pinned to, its directory."""

    url: str
    commit: str
    directory: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RestorePlan:
    """What `restore.json` says; all paths lie beside it."""

    snapshot: Path
    git: tuple[GitNode, ...]
    local: tuple[Path, ...]


def read_plan(path: Path) -> RestorePlan:
    """Parse `restore.json`, written by the host's planning, which has checked every value."""
    raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return RestorePlan(
        snapshot=path.parent / raw["snapshot"],
        git=tuple(GitNode(**entry) for entry in raw["git"]),
        local=tuple(path.parent / "local" / name for name in raw["local"]),
    )


def restore(path: Path) -> None:
    """Restore the snapshot, add the local packs, judge by state, keep only this row's files."""
    plan = read_plan(path)
    shutil.copytree(TREE, APP, symlinks=True, dirs_exist_ok=True)
    shutil.copyfile(plan.snapshot, SNAPSHOT)
    own = {entry.name for entry in CUSTOM_NODES.iterdir()}
    run_comfy_restore(path.parent / "mirrors")
    for pack in plan.local:
        shutil.copytree(pack, CUSTOM_NODES / pack.name)
    judge(plan, own)
    _keep_only_nodes(own)
    seal(RESULT, epoch())


def run_comfy_restore(mirrors: Path) -> None:
    """Run `comfy node restore-snapshot`, as section 6.2 of the snapshot spec asks for."""
    env = _comfy_environment(mirrors)
    run(["comfy", "--skip-prompt", "tracking", "disable"], env=env)
    argv = ["comfy", "--skip-prompt", "--workspace", str(APP), "node", "restore-snapshot"]
    status, text = output([*argv, str(SNAPSHOT)], env=env, cwd=CUSTOM_NODES)
    shown = "\n".join(line for line in re.split(r"[\r\n]+", text) if line and "it/s" not in line)
    print(shown, flush=True)
    sign = FAILURE_SIGNS.search(text.replace(EXPECTED, ""))
    if status != 0 or sign:
        why = f"status {status}" if status else f"it printed {sign.group(0)!r}" if sign else ""
        raise StepError(f"`comfy node restore-snapshot` failed ({why}); its output is above")


def judge(plan: RestorePlan, own: set[str]) -> None:
    """Raise `StepError` that names every node that is not on disk as the plan says."""
    wrong = [fault for node in plan.git if (fault := git_fault(node))]
    wrong += [fault for pack in plan.local if (fault := local_fault(pack))]
    expected = own | {node.directory for node in plan.git} | {pack.name for pack in plan.local}
    found = {entry.name for entry in CUSTOM_NODES.iterdir()} - {"__pycache__"}
    wrong += [f"{name}: not in the snapshot, but on disk" for name in sorted(found - expected)]
    if wrong:
        raise StepError(
            "the restored nodes are not what the snapshot says:\n  " + "\n  ".join(wrong)
        )
    print(f"restored: {len(plan.git)} node(s) from git, {len(plan.local)} local", flush=True)


def git_fault(node: GitNode) -> str:
    """Return what is wrong with a restored git node: missing, at another commit, or changed."""
    folder = CUSTOM_NODES / node.directory
    if not (folder / ".git").exists():
        return f"{node.directory}: {node.url} was not restored"
    _, head = output(["git", "-C", str(folder), "rev-parse", "HEAD"])
    if head.strip() != node.commit:
        return f"{node.directory}: at {head.strip()}, pinned to {node.commit}"
    _, changes = output(["git", "-C", str(folder), "status", "--porcelain"])
    return f"{node.directory}: changed after the checkout:\n{changes}" if changes.strip() else ""


def local_fault(pack: Path) -> str:
    """Return the first file of a local pack that did not arrive as it is in the build context."""
    for source in sorted(pack.rglob("*")):
        copy = CUSTOM_NODES / pack.name / source.relative_to(pack)
        if source.is_file() and (not copy.is_file() or copy.read_bytes() != source.read_bytes()):
            return f"{pack.name}: {source.relative_to(pack)} differs from the build context"
    return ""


def _comfy_environment(mirrors: Path) -> dict[str, str]:
    """Return what keeps comfy-cli quiet, offline and on the gathered mirrors."""
    home = Path("/tmp/home")  # noqa: S108  # a build stage has one user
    home.mkdir(exist_ok=True)
    config = home / "gitconfig"
    hosts = sorted(entry.name for entry in mirrors.iterdir()) if mirrors.is_dir() else []
    config.write_text(
        "".join(
            f'[url "file://{mirrors}/{host}/"]\n\tinsteadOf = https://{host}/\n' for host in hosts
        )
        + "[safe]\n\tdirectory = *\n",
        "utf-8",
    )
    return {
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "PIP_NO_INPUT": "1",
        "PIP_NO_INDEX": "1",
        "UV_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }


def _keep_only_nodes(own: set[str]) -> None:
    """Move what this row brings to a tree of its own, away from what other rows bring."""
    RESULT.mkdir(parents=True)
    for name in own | {"__pycache__"}:
        entry = CUSTOM_NODES / name
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    shutil.move(CUSTOM_NODES, RESULT)
    shutil.move(SNAPSHOT, RESULT)
