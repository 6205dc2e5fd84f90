"""No variable and no hook of the caller moves git to another repository than the one named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gitrepos import git, repository, state

from comfykiln.cli import documents, from_document, manifest
from comfykiln.cli.checks import repository_files
from comfykiln.cli.options import FromDocument, SnapshotConvert
from comfykiln.documents.capture import probe
from comfykiln.errors import DocumentError
from comfykiln.gather.node_lock import LockedSource
from comfykiln.gather.sources import GatheredSource, lay_out
from comfykiln.git import commits
from comfykiln.git.repository import read_repository
from comfykiln.plan.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
URL = "https://github.com/example-nodes/sample"
COMFYUI = "b1693ecba9f5b65f8c80ab36b195ab963ec92413"
EXPORT = """[project]
name = "mine"
version = "0.1.0"
requires-python = ">=3.13"
[tool.comfydock]
comfyui_version = "v0.30.0"
comfyui_version_type = "release"
comfyui_commit_sha = "{comfyui}"
python_version = "3.13.5"
[tool.comfydock.nodes.sample]
name = "sample"
source = "git"
repository = "{url}"
version = "{commit}"
"""


class World:
    """A folder with a repository for each use, and the scratch one, which is nobody's business."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scratch = root / "scratch"
        repository(self.scratch, {"person.txt": b"mine", "pyproject.toml": b"[wrong"})
        git(self.scratch, "tag", "v1")
        (self.scratch / "person.txt").write_bytes(b"changed")
        git(self.scratch, "add", "person.txt")  # the index holds what no commit has
        node = root / "node"
        self.commit = repository(node, {"__init__.py": b"NODE_CLASS_MAPPINGS = {}\n"})
        git(node, "tag", "v1")
        self.mirror = root / "mirrors" / "github.com" / "example-nodes" / "sample.git"
        self.mirror.parent.mkdir(parents=True)
        git(root, "clone", "-q", "--bare", str(node), str(self.mirror))
        text = EXPORT.format(comfyui=COMFYUI, url=URL, commit=self.commit)
        self.export = root / "mine"
        repository(self.export, {"pyproject.toml": text.encode(), "a.txt": b""})
        (self.export / "pyproject.toml").unlink()  # so it is read at its HEAD
        marks = dict.fromkeys(("main.py", "nodes.py", "folder_paths.py"), b"")
        self.comfyui = root / "ComfyUI"
        repository(self.comfyui, {**marks, "custom_nodes/x/__init__.py": b""})
        (self.comfyui / "main.py").write_bytes(b"changed\n")
        self.snapshot = root / "snapshot.json"
        nodes = {URL: {"hash": "master"}, f"{URL}.git": {"hash": self.commit[:8]}}
        self.snapshot.write_text(json.dumps({"git_custom_nodes": nodes}), "utf-8")
        self.manifest = root / "manifest.json"
        self.manifest.write_text("{}", "utf-8")
        (root / "templates" / "hooks").mkdir(parents=True)
        (root / "templates" / "config").write_text("[core]\n\tbare = false\n", "utf-8")
        redirect = f'[url "{self.scratch}"]\n\tinsteadOf = {self.export}\n'
        redirect += f'[url "{self.scratch}/."]\n\tinsteadOf = {self.mirror}\n'
        (root / "redirect").write_text(redirect, "utf-8")

    @property
    def variables(self) -> dict[str, dict[str, str]]:
        own = f"{self.scratch}/.git"
        key = f"url.{self.scratch}.insteadOf"
        return {
            "GIT_DIR": {"GIT_DIR": own},
            "GIT_WORK_TREE": {"GIT_WORK_TREE": str(self.scratch), "GIT_DIR": own},
            "GIT_INDEX_FILE": {"GIT_INDEX_FILE": f"{own}/index"},
            "GIT_OBJECT_DIRECTORY": {"GIT_OBJECT_DIRECTORY": f"{own}/objects"},
            "GIT_ALTERNATE": {"GIT_ALTERNATE_OBJECT_DIRECTORIES": f"{own}/objects"},
            "GIT_COMMON_DIR": {"GIT_COMMON_DIR": own},
            "GIT_NAMESPACE": {"GIT_NAMESPACE": "other"},
            "GIT_CEILING_DIRECTORIES": {"GIT_CEILING_DIRECTORIES": str(self.root)},
            "GIT_CONFIG_COUNT": {
                "GIT_CONFIG_COUNT": "2",
                "GIT_CONFIG_KEY_0": key,
                "GIT_CONFIG_VALUE_0": str(self.export),
                "GIT_CONFIG_KEY_1": key,
                "GIT_CONFIG_VALUE_1": str(self.mirror),
            },
            "GIT_CONFIG_PARAMETERS": {"GIT_CONFIG_PARAMETERS": f"'{key}'='{self.export}'"},
            "GIT_CONFIG_GLOBAL": {"GIT_CONFIG_GLOBAL": str(self.root / "redirect")},
            "GIT_CONFIG_SYSTEM": {"GIT_CONFIG_SYSTEM": str(self.root / "redirect")},
            "GIT_SSH_COMMAND": {"GIT_SSH_COMMAND": f"touch {own}/pwned"},
            "GIT_EXEC_PATH": {"GIT_EXEC_PATH": str(self.root)},
            "GIT_TEMPLATE_DIR": {"GIT_TEMPLATE_DIR": str(self.root / "templates")},
            "GIT_TRACE": {"GIT_TRACE": f"{own}/trace", "GIT_TRACE2": f"{own}/trace2"},
            "GIT_DEFAULT_HASH": {"GIT_DEFAULT_HASH": "sha256"},
            "GIT_SHALLOW_FILE": {"GIT_SHALLOW_FILE": f"{own}/HEAD"},
        }


def results(world: World, project: Path, capsys: pytest.CaptureFixture[str], out: Path) -> Any:
    """Do everything that runs git and only reads; return all that it says."""
    out.mkdir()
    capsys.readouterr()
    export, mirrors = str(world.export), str(world.root / "mirrors")
    documents.snapshot_check(export)
    documents.snapshot_convert(SnapshotConvert(file=export))
    documents.snapshot_pin(str(world.snapshot), mirrors, write=False)
    documents.snapshot_diff(export, str(world.snapshot), git_mirror=mirrors)
    with pytest.raises(DocumentError) as refused:
        manifest.manifest_check(str(world.manifest))
    given = FromDocument(from_=export, ref="master")
    intake = from_document.prepare(Project(root=project), given)
    commits.require_commit(world.mirror, world.commit)
    commits.export(world.mirror, world.commit, out / "tree.tar")
    tree = read_repository(world.mirror, URL, world.commit, out)
    locked = LockedSource(name="s", url=URL, ref="v1", commit=world.commit, subdirectory="")
    lay_out(GatheredSource(locked=locked, repositories={"": tree}), out / "laid")
    return {
        "said": capsys.readouterr().out,
        "refused": str(refused.value),
        "taken": dict(intake.files),
        "tar": (out / "tree.tar").read_bytes(),
        "pack": tree.sha256,
        "laid": (out / "laid" / "__init__.py").read_bytes(),
        "head": (out / "laid" / ".git" / "HEAD").read_text("utf-8").strip(),
        "listed": repository_files(world.export),
        "changed": probe.facts(str(world.comfyui))["comfyui"]["git"],
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def untouched(world: World) -> Iterator[None]:
    """Compare every repository byte for byte before and after."""
    before = state(world.root)
    yield
    after = state(world.root)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == set()


NAMES = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE"),
    *("GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_CEILING_DIRECTORIES", "GIT_CONFIG_COUNT"),
    *("GIT_CONFIG_PARAMETERS", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_SSH_COMMAND"),
    *("GIT_EXEC_PATH", "GIT_TEMPLATE_DIR", "GIT_TRACE", "GIT_DEFAULT_HASH", "GIT_SHALLOW_FILE"),
)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return {}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", ["", *NAMES])
def test_tasks_that_read_say_the_same_and_write_into_no_repository(
    world: World,
    repository: Path,
    name: str,
    expected: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable, value in world.variables.get(name, {}).items():
        monkeypatch.setenv(variable, value)
    found = results(world, repository, capsys, tmp_path / "out")
    if not name:
        expected.update(found)
        assert found["listed"] == ["a.txt"]
        assert found["head"] == world.commit
        assert found["said"].count(world.commit) >= 2
        assert found["changed"]["changed"] == 1
    assert found == expected


HOOK = """#!/bin/sh
exec >>{log} 2>&1
echo "$GIT_DIR $GIT_INDEX_FILE"
cd {cwd}
for task in "snapshot.check {export}" "snapshot.pin {snapshot} --git-mirror {mirrors} --no-write"
do {python} -P -m comfykiln --search-root {root} $task || echo failed; done
exit 1
"""


@pytest.mark.parametrize("hook", ["pre-commit", "prepare-commit-msg"])
def test_a_hook_of_a_linked_worktree_reads_and_writes_nothing(
    world: World, tmp_path: Path, hook: str
) -> None:
    person = tmp_path / "person"
    repository(person, {"mine.txt": b"mine"})
    git(person, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    script = person / ".git" / "hooks" / hook
    script.parent.mkdir(exist_ok=True)
    log = tmp_path / "log"
    script.write_text(
        HOOK.format(
            log=log,
            cwd=tmp_path / "linked",
            export=world.export,
            snapshot=world.snapshot,
            mirrors=world.root / "mirrors",
            python=sys.executable,
            root=ROOT,
        ),
        "utf-8",
    )
    script.chmod(0o755)
    (tmp_path / "linked" / "new.txt").write_text("new", "utf-8")
    git(tmp_path / "linked", "add", "-A")
    before, others = state(person), state(world.root)
    with pytest.raises(subprocess.CalledProcessError):
        git(tmp_path / "linked", "commit", "-q", "-m", "never made")
    said = log.read_text("utf-8")
    assert said.startswith(f"{person}/.git/worktrees/linked {person}/.git/worktrees/linked/index")
    assert "failed" not in said
    assert f"{world.export}@" in said
    assert f"is {world.commit[:10]} (branch master)" in said
    assert _without_own(state(person)) == _without_own(before)
    assert state(world.root) == others


def _without_own(found: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out what `git commit` itself writes before its hooks: index, objects, message."""
    own = ("index", "objects/", "COMMIT_EDITMSG")
    return {name: data for name, data in found.items() if not any(part in name for part in own)}


def test_variables_of_the_caller_are_not_those_of_the_tests() -> None:
    assert [name for name in os.environ if name.startswith("GIT_")] == []
