"""The real comfy-cli with its Manager, on a workspace and an environment of one test's own.

Repositories, package index and registry are on loopback; any other host is refused by a proxy.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import fakenet
from tests.support.nodes import HOST, Nodes
from tests.support.standin import write_workspace
from tests.support.wheelindex import Index, serving
from uv import find_uv_bin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "locks" / "comfy.txt"
IMAGE_LOCK = ROOT / "services" / "comfy" / "core" / "locks" / "packages.txt"
# What the Manager imports of ComfyUI's own requirements, and the pip that it calls.
PACKAGES = ("aiohttp", "pyyaml", "tqdm", "packaging", "pip")
REGISTRY = "api.comfy.org"


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a program ended with and what it said, on both streams."""

    status: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Lab:
    """One workspace with the real programs, and everything of the outside that they can reach."""

    workspace: Path
    python: Path
    nodes: Nodes
    env: Mapping[str, str]
    index: Index
    refused: list[str]

    def run(self, *argv: str, cwd: Path | None = None) -> Ran:
        done = subprocess.run(
            argv,
            cwd=cwd or self.workspace.parent,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        return Ran(status=done.returncode, text=done.stdout.replace("\r", "\n"))

    def comfy(self, *words: str, cwd: Path | None = None) -> Ran:
        """Run `comfy … WORDS` on the workspace."""
        argv = (str(self.python), "-m", "comfy_cli", "--skip-prompt")
        return self.run(*argv, "--workspace", str(self.workspace), *words, cwd=cwd)

    def manager(self, *words: str) -> Ran:
        """Run the Manager's own command line, which comfy-cli calls."""
        return self.run(str(self.python), "-m", "cm_cli", *words)

    def restore(self, *flags: str, cwd: Path | None = None, **snapshot: object) -> Ran:
        """Write a snapshot of the nodes, with further or other keys, and let comfy restore it."""
        path = self.snapshot({"git_custom_nodes": self.nodes.pins, **snapshot})
        return self.comfy("node", "restore-snapshot", str(path), *flags, cwd=cwd)

    def snapshot(self, content: object) -> Path:
        path = self.workspace.parent / "snapshot.json"
        path.write_text(json.dumps(content), "utf-8")
        return path

    def head(self, name: str) -> str:
        """Return the commit of a restored node."""
        folder = self.workspace / "custom_nodes" / name
        ran = self.run("git", "-C", str(folder), "rev-parse", "HEAD")
        assert ran.status == 0, ran.text
        return ran.text.strip()

    def installed(self) -> list[str]:
        """Return the names of what is in custom_nodes."""
        found = {path.name for path in (self.workspace / "custom_nodes").iterdir()}
        return sorted(found - {"here", "__pycache__"})

    def versions(self) -> dict[str, str]:
        """Return name → version of the environment's packages."""
        ran = self.run(str(self.python), "-m", "pip", "list", "--format=json")
        return {entry["name"]: entry["version"] for entry in json.loads(ran.text)}


@contextmanager
def laboratory(folder: Path, wheels: Sequence[tuple[str, bytes]], *stubs: str) -> Iterator[Lab]:
    """Yield a lab whose index serves `wheels`; `stubs` (`name==version`) are installed already."""
    environment = folder / "venv"
    shutil.copytree(prepared(), environment, symlinks=True, copy_function=os.link)
    workspace = folder / "ComfyUI"
    workspace.mkdir()
    write_workspace(workspace)
    (workspace / "main.py").write_text("", "utf-8")
    mirrors = folder / "mirrors"
    (mirrors / HOST).mkdir(parents=True)
    (folder / "gitconfig").write_text(
        f'[url "{mirrors}/"]\n\tinsteadOf = https://\n[safe]\n\tdirectory = *\n', "utf-8"
    )
    with ExitStack() as stack:
        index = stack.enter_context(serving({"/simple": wheels}))
        proxy, refused = stack.enter_context(fakenet.proxy({}))
        env = {
            "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
            "HOME": str(folder),
            "VIRTUAL_ENV": str(environment),
            "COMFYUI_PATH": str(workspace),
            "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
            "GIT_TERMINAL_PROMPT": "0",
            "PIP_INDEX_URL": f"{index.url}/simple",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "UV_DEFAULT_INDEX": f"{index.url}/simple",
            "UV_CACHE_DIR": str(folder / "uv-cache"),
            "HTTPS_PROXY": proxy,
            "NO_PROXY": "127.0.0.1",
            "DO_NOT_TRACK": "1",
            "COLUMNS": "1000",
            "LC_ALL": "C.UTF-8",
        }
        lab = Lab(
            workspace=workspace,
            python=environment / "bin" / "python",
            nodes=Nodes(mirrors=mirrors, work=folder / "work"),
            env=env,
            index=index,
            refused=refused,
        )
        (folder / "work").mkdir()
        if stubs:
            pip = lab.run(str(lab.python), "-m", "pip", "install", "-q", *stubs)
            assert pip.status == 0, pip.text
        yield lab


def prepared() -> Path:
    """Return an environment with the locked comfy-cli and Manager, kept for later runs."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    locked = IMAGE_LOCK.read_text("utf-8")
    pins = re.findall(r"(?m)^(?:comfy-cli|comfyui-manager)==[0-9.]+", locked)
    packages = [*pins, *PACKAGES]
    key = hashlib.sha256(LOCK.read_bytes() + repr(packages).encode()).hexdigest()[:12]
    folder = ROOT / ".kiln" / "peers" / f"comfy-{key}-{version}"
    uv = find_uv_bin()
    for argv in (
        [uv, "venv", "-q", "--allow-existing", "-p", sys.executable, str(folder)],
        [uv, "pip", "install", "-q", "-p", str(folder), "-c", str(LOCK), *packages],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder
