"""Ask comfy-cli about every line of the nodes' requirements, while it restores the nodes.

The two starts of comfy-cli are most of this row, and the answer depends on two files of each node
alone. They are taken from the pinned commits and the archives into a workspace of their own; that
the restored nodes are as those commits and archives is judged afterwards.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from comfykiln.restore.mirrors import MIRRORS
from comfykiln.restore.plans import cloned_from
from comfykiln.restore.running import content, output

if TYPE_CHECKING:
    from comfykiln.restore.plans import ArchiveNode, GitNode, RestorePlan

# The files of a node that `comfy node deps` reads.
READ = ("requirements.txt", "pyproject.toml")
WORKSPACE = Path("/tmp/asked")  # noqa: S108  # a build stage has one user
# comfy-cli asks `python -m pip list`, and the environment holds no pip: uv answers in its place.
PIP_LIST = """\
import os, sys
os.execvp("uv", ["uv", "pip", "list", "--quiet", "--format", "json", "--python", sys.executable])
"""


def ask_requirements(plan: RestorePlan, tree: Path, env: dict[str, str]) -> str:
    """Return what `comfy --json node deps` says of every line; `tree` is ComfyUI's own."""
    nodes = _workspace(tree)
    for node in plan.git:
        _take_from_commit(node, nodes / node.directory, env)
    for archive in plan.archives:
        _take_from_archive(archive, nodes / archive.directory)
    for pack in plan.local:
        for path in (pack / name for name in READ):
            if path.is_file():
                _write(nodes / pack.name / path.name, path.read_bytes())
    stand_in, home = WORKSPACE / "pip-stand-in", WORKSPACE / "home"
    _write(stand_in / "pip" / "__main__.py", PIP_LIST.encode())
    home.mkdir()
    argv = ["comfy", "--skip-prompt", "--json", "--workspace", str(nodes.parent), "node", "deps"]
    _, said = output(argv, env={**env, "HOME": str(home), "PYTHONPATH": str(stand_in)}, cwd=nodes)
    return said


def _workspace(tree: Path) -> Path:
    """Make a workspace that is ComfyUI but for its nodes; return the empty folder for them."""
    workspace = WORKSPACE / "app"
    if WORKSPACE.exists():
        shutil.rmtree(WORKSPACE)
    (workspace / "custom_nodes").mkdir(parents=True)
    for entry in tree.iterdir():
        if entry.name != "custom_nodes":
            (workspace / entry.name).symlink_to(entry)
    return workspace / "custom_nodes"


def _take_from_commit(node: GitNode, folder: Path, env: dict[str, str]) -> None:
    parts = urlsplit(cloned_from(node.url, node.directory))
    git = ["git", f"--git-dir={MIRRORS / parts.netloc}{parts.path}.git"]
    listed = content([*git, "ls-tree", "--name-only", "-z", node.commit, *READ], env=env)
    for name in filter(None, listed.decode().split("\0")):
        if name not in node.lacking:
            _write(
                folder / name, content([*git, "cat-file", "blob", f"{node.commit}:{name}"], env=env)
            )


def _take_from_archive(node: ArchiveNode, folder: Path) -> None:
    with zipfile.ZipFile(node.archive) as archive:
        for name in set(READ) & set(archive.namelist()):
            _write(folder / name, archive.read(name))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
