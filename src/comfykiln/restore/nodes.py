"""The custom nodes row: comfy-cli restores the snapshot, and what is on disk judges it.

`comfy node restore-snapshot` exits 0 whatever happens and clones branch heads instead of pins
(both measured with comfy-cli 1.23.0), so it is given mirrors whose only branch is the pin, and
neither its exit status nor its output is taken for success.
"""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.restore.archives import place_files, unpack
from comfykiln.restore.asking import ask_requirements
from comfykiln.restore.installing import run_install_script
from comfykiln.restore.judging import judge, judge_requirements
from comfykiln.restore.mirrors import TEMPLATE, complete, make_mirrors, write_config
from comfykiln.restore.packages import APP, epoch, installed_versions
from comfykiln.restore.plans import cloned_from, read_plan
from comfykiln.restore.running import StepError, output
from comfykiln.restore.sealing import seal

if TYPE_CHECKING:
    from comfykiln.restore.plans import ArchiveNode, GitNode, RestorePlan

SNAPSHOT = APP / "production-snapshot.json"
CUSTOM_NODES = APP / "custom_nodes"
MANAGER = APP / "user" / "__manager"
TREE = Path("/tree")
# Where this row is copied from: /app itself holds mounts of other rows here.
RESULT = Path("/result/app")
RECORD = RESULT / ".kiln" / "nodes.json"
# Lines by which comfy-cli 1.23.0 and its Manager show a failure while exiting 0.
FAILURE_SIGNS = re.compile(
    r"Execution error|\[ +FAILED +\]|^ERROR:|^Traceback|install script failed|Failed to restore",
    re.MULTILINE,
)
# True here and harmless: this row must not depend on the target's torch, so none is in reach.
EXPECTED = "ERROR:root:[ComfyUI-Manager] PyTorch is not installed"


def restore(path: Path) -> None:
    """Restore the snapshot, add the local packs, judge by state, keep only this row's files."""
    plan = read_plan(path)
    shutil.copytree(TREE, APP, symlinks=True, dirs_exist_ok=True)
    shutil.copyfile(plan.snapshot, SNAPSHOT)
    own = {entry.name for entry in CUSTOM_NODES.iterdir()}
    make_mirrors(plan.mirrors)
    env = _comfy_environment(plan)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(ask_requirements, plan, TREE, env) if plan.folders else None
        run_comfy_restore(plan, env)
        done = [
            pool.submit(complete, node, CUSTOM_NODES / node.directory, env) for node in plan.git
        ]
        for one in done:
            one.result()
        for archive in plan.archives:
            unpack(archive, CUSTOM_NODES / archive.directory)
        for pack in plan.local:
            shutil.copytree(pack, CUSTOM_NODES / pack.name)
        place_files(plan, CUSTOM_NODES)
        judge(plan, own, CUSTOM_NODES)
    if asked:
        judge_requirements(plan, asked.result(), installed_versions())
    changes = {
        node.directory: run_install_script(node.directory, CUSTOM_NODES / node.directory, env)
        for node in plan.folders
        if node.install
    }
    _keep_only_nodes(plan, own)
    if plan.folders or plan.files:
        _write_record(plan, changes)
    seal(RESULT, epoch())


def run_comfy_restore(plan: RestorePlan, env: dict[str, str]) -> None:
    """Run `comfy node restore-snapshot`, as section 6.2 of the snapshot spec asks for.

    It is given the snapshot without its registry nodes: those it would fetch from the registry,
    and restore without the packages they need.
    """
    given = Path("/tmp/snapshot.json")  # noqa: S108  # a build stage has one user
    wanted = json.loads(SNAPSHOT.read_text("utf-8"))
    cloned = {
        cloned_from(node.url, node.directory): {"hash": node.commit, "disabled": node.disabled}
        for node in plan.git
    }
    told = {**wanted, "cnr_custom_nodes": {}, "git_custom_nodes": cloned}
    given.write_text(json.dumps(told), "utf-8")
    argv = ["comfy", "--skip-prompt", "--workspace", str(APP), "node", "restore-snapshot"]
    status, text = output([*argv, str(given)], env=env, cwd=CUSTOM_NODES)
    shown = "\n".join(line for line in re.split(r"[\r\n]+", text) if line and "it/s" not in line)
    print(shown, flush=True)
    fault = failure_of(status, text)
    if fault:
        raise StepError(f"`comfy node restore-snapshot` failed ({fault}); its output is above")


def failure_of(status: int, text: str) -> str:
    """Return how a run of comfy-cli shows that it failed, empty when nothing in it does."""
    sign = FAILURE_SIGNS.search(text.replace(EXPECTED, ""))
    if status:
        return f"status {status}"
    return f"it printed {sign.group(0)!r}" if sign else ""


def _comfy_environment(plan: RestorePlan) -> dict[str, str]:
    """Return what keeps comfy-cli quiet, offline and on the gathered mirrors."""
    home = Path("/tmp/home")  # noqa: S108  # a build stage has one user
    home.mkdir(exist_ok=True)
    config = home / "gitconfig"
    write_config(plan, config)
    MANAGER.mkdir(parents=True, exist_ok=True)
    (MANAGER / "config.ini").write_text(
        "[default]\nuse_uv = True\nnetwork_mode = offline\n", "utf-8"
    )
    return {
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_TEMPLATE_DIR": str(TEMPLATE),
        "GIT_TERMINAL_PROMPT": "0",
        "PIP_NO_INPUT": "1",
        "PIP_NO_INDEX": "1",
        "UV_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }


def _keep_only_nodes(plan: RestorePlan, own: set[str]) -> None:
    """Move what this row brings to a tree of its own, away from what other rows bring."""
    RESULT.mkdir(parents=True)
    for name in own | {"__pycache__"}:
        entry = CUSTOM_NODES / name
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    for node in plan.git:
        _strip_history(node)
    for one in plan.folders:
        _prepare(one)
        if one.disabled:
            (CUSTOM_NODES / ".disabled").mkdir(exist_ok=True)
            (CUSTOM_NODES / one.directory).rename(CUSTOM_NODES / ".disabled" / one.parked)
    shutil.move(CUSTOM_NODES, RESULT)
    shutil.move(SNAPSHOT, RESULT)


def _prepare(node: GitNode | ArchiveNode) -> None:
    """Make what the node would make at its first import, where the root is read-only."""
    folder = CUSTOM_NODES / node.directory
    for target, source in node.copies.items():
        if not (folder / source).is_file():
            raise StepError(f"{node.directory}: has no {source} to copy to {target}")
        shutil.copyfile(folder / source, folder / target)
    for name in node.folders:
        (RESULT / name).mkdir(parents=True, exist_ok=True)


def _strip_history(node: GitNode) -> None:
    """Leave of .git what says where the node comes from and at which commit, and nothing else.

    Git's index holds inode numbers and times, and its objects are the files once more.
    """
    for mount in node.submodules:
        (CUSTOM_NODES / node.directory / mount / ".git").unlink()
    place = CUSTOM_NODES / node.directory / ".git"
    shutil.rmtree(place)
    (place / "objects").mkdir(parents=True)
    (place / "refs" / "heads").mkdir(parents=True)
    (place / "HEAD").write_text("ref: refs/heads/pinned\n", "utf-8")
    (place / "refs" / "heads" / "pinned").write_text(f"{node.commit}\n", "utf-8")
    (place / "config").write_text(
        "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"
        f'[remote "origin"]\n\turl = {node.url}\n',
        "utf-8",
    )


def _write_record(plan: RestorePlan, changes: dict[str, list[str]]) -> None:
    """Write what was restored to /app/.kiln/nodes.json."""
    record: dict[str, dict[str, object]] = {
        node.directory: {
            "url": node.url,
            "commit": node.commit,
            "submodules": dict(node.submodules),
            "disabled": node.disabled,
            "lacking": list(node.lacking),
            "copies": dict(node.copies),
            "install_changed": changes.get(node.directory, []),
        }
        for node in plan.git
    }
    record |= {
        one.directory: {
            "registry_id": one.registry_id,
            "version": one.version,
            "sha256": one.sha256,
            "disabled": one.disabled,
            "copies": dict(one.copies),
            "install_changed": changes.get(one.directory, []),
        }
        for one in plan.archives
    }
    record |= {one.name: {"disabled": one.disabled} for one in plan.files if not one.own}
    RECORD.parent.mkdir(parents=True)
    RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", "utf-8")
