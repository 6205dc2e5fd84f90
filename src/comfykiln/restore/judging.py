"""Judge restored nodes by what is on disk, never by what a tool said."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from comfykiln.restore.archives import archive_faults, file_faults
from comfykiln.restore.packages import normalized
from comfykiln.restore.running import StepError, output

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from comfykiln.restore.plans import GitNode, RestorePlan


def judge(plan: RestorePlan, own: set[str], custom_nodes: Path) -> None:
    """Raise `StepError` that names every node that is not on disk as the plan says."""
    with ThreadPoolExecutor() as pool:
        found_in_git = pool.map(lambda node: list(git_faults(node, custom_nodes)), plan.git)
        wrong = [fault for faults in found_in_git for fault in faults]
    wrong += [fault for pack in plan.local if (fault := local_fault(pack, custom_nodes))]
    wrong += [fault for node in plan.archives for fault in archive_faults(node, custom_nodes)]
    wrong += file_faults(plan, custom_nodes)
    expected = own | {one.directory for one in plan.folders} | {pack.name for pack in plan.local}
    expected |= {f"{one.name}.disabled" if one.disabled else one.name for one in plan.files}
    found = {entry.name for entry in custom_nodes.iterdir()} - {"__pycache__"}
    wrong += [f"{name}: not in the snapshot, but on disk" for name in sorted(found - expected)]
    if wrong:
        raise StepError(
            "the restored nodes are not what the snapshot says:\n  " + "\n  ".join(wrong)
        )
    counts = f"{len(plan.git)} node(s) from git, {len(plan.archives)} from archives"
    print(f"restored: {counts}, {len(plan.local)} local, {len(plan.files)} file(s)", flush=True)


def git_faults(node: GitNode, custom_nodes: Path) -> Iterator[str]:
    """Yield what is wrong with a git node: missing, at another commit, changed, incomplete."""
    if not (custom_nodes / node.directory / ".git").exists():
        yield f"{node.directory}: {node.url} was not restored"
        return
    for below, commit in node.checkouts().items():
        folder = str(custom_nodes / below)
        _, head = output(["git", "-C", folder, "rev-parse", "HEAD"])
        if head.strip() != commit:
            yield f"{below}: at {head.strip()}, pinned to {commit}"
            continue
        _, changes = output(["git", "-C", folder, "status", "--porcelain", "--ignored"])
        if changes.strip():
            yield f"{below}: changed after the checkout:\n{changes}"
    absent = set(_absent(node, custom_nodes))
    if absent != set(node.lacking):
        shown = ", ".join(sorted(absent ^ set(node.lacking))[:5])
        yield f"{node.directory}: other files are left out than the plan says: {shown}"


def _absent(node: GitNode, custom_nodes: Path) -> Iterator[str]:
    """Yield the tracked files that the checkout leaves out, below the node's folder."""
    for below in node.checkouts():
        _, listed = output(["git", "-C", str(custom_nodes / below), "ls-files", "-t", "-z"])
        mount = below.removeprefix(node.directory).lstrip("/")
        for line in filter(None, listed.split("\0")):
            if line.startswith("S "):
                yield f"{mount}/{line[2:]}" if mount else line[2:]


def local_fault(pack: Path, custom_nodes: Path) -> str:
    """Return the first file of a local pack that did not arrive as it is in the build context."""
    for source in sorted(pack.rglob("*")):
        copy = custom_nodes / pack.name / source.relative_to(pack)
        if source.is_file() and (not copy.is_file() or copy.read_bytes() != source.read_bytes()):
            return f"{pack.name}: {source.relative_to(pack)} differs from the build context"
    return ""


def judge_requirements(plan: RestorePlan, said: str, installed: Collection[str]) -> None:
    """Judge the report of `comfy --json node deps`: each line of each node, satisfied or accepted.

    `installed` are the names of all packages, for lines that comfy-cli cannot read.
    Raises `StepError` that names node, line and what is installed.
    """
    lines = [(pack["pack"], line) for pack in _report(said) for line in pack["requirements"]]
    wrong = [
        f"{node}: {line['raw']} is {line['status']}, found {line.get('installed') or 'nothing'}"
        for node, line in lines
        if line["status"] != "satisfied" and not _is_known(plan, node, line, installed)
    ]
    if wrong:
        raise StepError("nodes ask for what is not installed:\n  " + "\n  ".join(wrong))
    print(f"requirements: {len(lines)} line(s) of nodes are satisfied or accepted", flush=True)


def _is_known(
    plan: RestorePlan, node: str, line: Mapping[str, Any], installed: Collection[str]
) -> bool:
    """Say whether a line without satisfaction is accepted, not for this system, or met unread."""
    name = normalized(str(line.get("name") or ""))
    if {name, line["raw"]} & (plan.accepted | plan.family):
        return True
    met_by = plan.told.get(node, {}).get(line["raw"])
    return met_by == "" or (line["status"] == "unparseable" and met_by in installed)


def _report(said: str) -> list[dict[str, Any]]:
    for line in said.splitlines():
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return list(found.get("data", {}).get("packs", []))
    raise StepError(f"`comfy --json node deps` gave no report:\n{said}")
