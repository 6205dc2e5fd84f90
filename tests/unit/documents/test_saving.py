"""A snapshot by what is really on disk: a ComfyUI folder with clones made by the real git."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from comfykiln.cli.documents import snapshot_save
from comfykiln.documents.saving import save
from comfykiln.documents.snapshot.parse import parse
from comfykiln.errors import DocumentError

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://github.com/example-nodes/ComfyUI-Sample"


def git(folder: Path, *arguments: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    env = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_AUTHOR_NAME": "n",
        "GIT_AUTHOR_EMAIL": "e",
        "GIT_COMMITTER_NAME": "n",
        "GIT_COMMITTER_EMAIL": "e",
    }
    argv = ["git", "-C", str(folder), *arguments]
    return subprocess.run(argv, env=env, capture_output=True, check=True, text=True).stdout.strip()


def clone(folder: Path, url: str, *, detached: bool) -> str:
    """Make a repository with two commits and `origin` at `url`; return the commit it is at."""
    git(folder, "init", "-q", "-b", "main")
    for number in (1, 2):
        git(folder, "commit", "-q", "--allow-empty", "-m", f"c{number}")
    git(folder, "remote", "add", "origin", url)
    if detached:
        git(folder, "checkout", "-q", "--detach", "HEAD~1")
    git(folder, "pack-refs", "--all")
    return git(folder, "rev-parse", "HEAD")


def distribution(site: Path, name: str, version: str, origin: dict[str, object] | None) -> None:
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n")
    if origin:
        (info / "direct_url.json").write_text(json.dumps(origin))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "ComfyUI"
    clone(root, "https://github.com/Comfy-Org/ComfyUI.git", detached=True)
    for name in ("main.py", "nodes.py", "folder_paths.py", "execution.py"):
        (root / name).write_text("")
    nodes = root / "custom_nodes"
    clone(nodes / "ComfyUI-Sample", f"{URL}.git", detached=True)
    clone(nodes / "on-a-branch", "https://me:canary@github.com/o/on-a-branch", detached=False)
    clone(nodes / "switched-off.disabled", "https://github.com/o/switched-off", detached=False)
    registered = nodes / "comfyui-registered"
    registered.mkdir()
    (registered / ".tracking").write_text("pyproject.toml\n")
    (registered / "pyproject.toml").write_text(
        '[project]\nname = "comfyui-registered"\nversion = "1.2.3"\n'
    )
    (nodes / "unknown-origin").mkdir()
    (nodes / "websocket_image_save.py").write_text("")
    site = root / ".venv" / "lib" / "python3.12" / "site-packages"
    distribution(site, "numpy", "1.26.4", None)
    commit = {"vcs": "git", "commit_id": "5" * 40, "requested_revision": "main"}
    distribution(site, "tool", "1.0", {"url": "https://github.com/o/tool", "vcs_info": commit})
    return root


def test_commits_versions_and_packages_are_those_on_disk(folder: Path) -> None:
    saved = save(str(folder))
    head = git(folder, "rev-parse", "HEAD")
    nodes = folder / "custom_nodes"
    document = json.loads(saved.written.data)
    assert document == {
        "comfyui": head,
        "git_custom_nodes": {
            f"{URL}.git": {
                "hash": git(nodes / "ComfyUI-Sample", "rev-parse", "HEAD"),
                "disabled": False,
            },
            "https://github.com/o/on-a-branch": {
                "hash": git(nodes / "on-a-branch", "rev-parse", "HEAD"),
                "disabled": False,
            },
            "https://github.com/o/switched-off": {
                "hash": git(nodes / "switched-off.disabled", "rev-parse", "HEAD"),
                "disabled": True,
            },
        },
        "cnr_custom_nodes": {"comfyui-registered": "1.2.3"},
        "file_custom_nodes": [{"filename": "websocket_image_save.py", "disabled": False}],
        "pips": {"numpy==1.26.4": "", "tool": f"git+https://github.com/o/tool@{'5' * 40}"},
    }
    for value in (document["comfyui"], document["git_custom_nodes"][f"{URL}.git"]["hash"]):
        assert len(value) == 40
    assert "canary" not in saved.written.data.decode()


def test_what_a_snapshot_cannot_hold_is_said(folder: Path) -> None:
    said = [str(note) for note in save(str(folder)).notes]
    assert "nodes: left out: unknown-origin [convert.left-out]" in said
    assert any("credentials left out" in line for line in said)
    assert "canary" not in "\n".join(said)


def test_the_task_writes_a_snapshot_that_reads_back(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s.json"
    snapshot_save(str(folder), str(out))
    assert f"{out} is written" in capsys.readouterr().err
    assert len(parse(out.read_bytes(), "s.json").environment.nodes) == 5
    snapshot_save(str(folder))
    assert capsys.readouterr().out == out.read_text()


def test_other_kinds_can_be_saved_too(folder: Path) -> None:
    assert save(str(folder), kind="comfylock").written.filename == "comfy-lock.yaml"


def test_a_folder_without_comfyui_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="no ComfyUI"):
        save(str(tmp_path))
