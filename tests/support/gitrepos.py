"""Real repositories for tests of what git is asked, and a repository that nobody may touch."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

IDENTITY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "n",
    "GIT_AUTHOR_EMAIL": "e",
    "GIT_COMMITTER_NAME": "n",
    "GIT_COMMITTER_EMAIL": "e",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}


def git(folder: Path, *words: str) -> str:
    """Run git in the folder, with nothing of the caller's environment but PATH."""
    env = {"PATH": os.environ["PATH"], **IDENTITY}
    argv = ["git", "-C", str(folder), *words]
    done = subprocess.run(argv, env=env, capture_output=True, check=True, text=True)
    return done.stdout.strip()


def repository(folder: Path, files: dict[str, bytes], *, branch: str = "master") -> str:
    """Make a repository with one commit of the files on `branch`; return the commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", branch)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", f"of {folder.name}")
    return git(folder, "rev-parse", "HEAD")


def state(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, its bytes and links included."""
    return {
        path.relative_to(folder).as_posix(): (
            str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        )
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
