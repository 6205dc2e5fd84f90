"""Custom nodes in git repositories of their own, for a small image to be restored from."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.images import Line

HOST = "kiln.invalid"
AUTHOR = ("-c", "user.name=Test", "-c", "user.email=test@kiln.invalid")


def git(folder: Path, *words: str) -> str:
    argv = ["git", "-C", str(folder), *AUTHOR, "-c", "protocol.file.allow=always", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def good(name: str) -> dict[str, str]:
    """Return the files of a node that imports and registers one class."""
    return {"__init__.py": f"NODE_CLASS_MAPPINGS = {{'{name}': object}}\n"}


@dataclass(kw_only=True)
class Nodes:
    """A folder of mirrors, the repositories that tests put there, and the snapshot of them."""

    mirrors: Path
    work: Path
    pins: dict[str, dict[str, object]] = field(default_factory=dict)
    registry: dict[str, str] = field(default_factory=dict)
    files: list[dict[str, object]] = field(default_factory=list)

    @classmethod
    def beside(cls, line: Line, folder: Path) -> Nodes:
        """Return an empty folder of mirrors that has the line's ComfyUI, too."""
        mirrors = folder / "mirrors"
        shutil.copytree(line.mirror, mirrors, symlinks=True)
        return cls(mirrors=mirrors, work=folder / "work")

    def url(self, name: str) -> str:
        return f"https://{HOST}/nodes/{name}"

    def repository(
        self,
        name: str,
        files: dict[str, str],
        *,
        submodule: str = "",
        branch: str = "trunk",
        listed: bool = True,
        disabled: bool = False,
    ) -> str:
        """Commit `files`, then something newer; the snapshot lists the first of both commits."""
        work = self.work / name
        work.mkdir(parents=True)
        git(work, "init", "-q", "-b", branch)
        for path, text in files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_text(text, "utf-8")
        if submodule:
            git(work, "submodule", "add", "-q", str(self.work / submodule), "parts/inner")
            modules = work / ".gitmodules"
            text = modules.read_text("utf-8").replace(
                str(self.work / submodule), f"../{submodule}.git"
            )
            modules.write_text(text, "utf-8")
        git(work, "add", "-A")
        git(work, "commit", "-q", "-m", "pinned")
        commit = git(work, "rev-parse", "HEAD")
        (work / "__init__.py").write_text("raise RuntimeError('not the pin')\n", "utf-8")
        git(work, "add", "-A")
        git(work, "commit", "-q", "-m", "newer")
        bare = self.mirrors / HOST / "nodes" / f"{name}.git"
        git(self.work, "clone", "-q", "--bare", str(work), str(bare))
        if listed:
            self.pins[self.url(name)] = {"hash": commit, "disabled": disabled}
        return commit

    def write(self, line: Line, **service: object) -> None:
        """Write the snapshot, and further keys of service.yaml, into the line's project."""
        folder = line.root / "services" / "comfy" / "kilntest"
        snapshot: dict[str, object] = {
            "comfyui": None,
            "git_custom_nodes": self.pins,
            "cnr_custom_nodes": self.registry,
            "file_custom_nodes": self.files,
            "pips": {},
        }
        (folder / "production-snapshot.json").write_text(json.dumps(snapshot), "utf-8")
        path = folder / "service.yaml"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | service), "utf-8")
