from __future__ import annotations

import fcntl
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.support.gathering import CHOICE, COMFYUI, LOCKED, stand_in

from comfykiln.bake.context import staged
from comfykiln.errors import NotPossibleError
from comfykiln.gather.node_files import NodeFile
from comfykiln.locking.relock import access_of, relock
from comfykiln.plan.project import RESTORE, Project
from comfykiln.verify.gathered import Gathered, gather_all

if TYPE_CHECKING:
    from pathlib import Path

    from comfykiln.plan.plan import BuildPlan


@pytest.fixture
def made(
    repository: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[BuildPlan, Gathered]:
    """The plan of `core` without local packs, and what it is made of; nothing is far away."""
    assert home.is_dir()
    stand_in(tmp_path / "far", monkeypatch)
    project = Project(root=repository)
    access = access_of(project, None)
    relock(project, project.service("core"), access)
    plan = project.plan("cpu", "core")
    return plan, gather_all(project, plan, access)


def listed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_context_of_an_image_without_nodes(
    made: tuple[BuildPlan, Gathered], tmp_path: Path
) -> None:
    plan, gathered = made
    with staged(plan, gathered, tmp_path, RESTORE) as found:
        names = listed(found.context)
        own = [name for name in names if not name.startswith(("kiln/", "nodes/local/"))]
        assert own == [
            "apt/base.txt",
            "apt/builder.txt",
            "apt/install.sh",
            "apt/target.txt",
            "locks/packages/packages.txt",
            "locks/packages/sources.json",
            "locks/torch/packages.txt",
            "locks/torch/torch.json",
            "nodes/production-snapshot.json",
            "nodes/restore.json",
            "services/startup.py",
        ]
        program = {name for name in names if name.startswith("kiln/")}
        assert program == {
            "kiln/comfykiln/__init__.py",
            *(f"kiln/comfykiln/restore/{path.name}" for path in RESTORE.glob("*.py")),
        }
        lock = (found.context / "locks/packages/packages.txt").read_text("utf-8")
        shared = {name: version for name, version in LOCKED.items() if name != "torch"}
        assert lock.splitlines() == [
            line
            for name, version in shared.items()
            for line in (f"{name}=={version} \\", "    --hash=sha256:00")
        ]
        assert json.loads((found.context / "locks/torch/torch.json").read_bytes()) == {
            "requirements": list(CHOICE.requirements),
            "index": CHOICE.index,
        }
        assert found.comfyui == gathered.comfyui
        assert (found.tools / "uv").is_file()


def test_a_torch_of_the_package_index_has_a_lock_of_its_own(
    made: tuple[BuildPlan, Gathered], tmp_path: Path
) -> None:
    plan, gathered = made
    choice = replace(CHOICE, index=None, local_tag=Project(root=tmp_path).package_index_build())
    with staged(plan, replace(gathered, torch=choice), tmp_path, RESTORE) as found:
        assert listed(found.context / "locks/torch") == ["torch.json", "torch.txt"]
        text = (found.context / "locks/torch/torch.txt").read_text("utf-8")
        assert text == f"torch=={LOCKED['torch']} \\\n    --hash=sha256:00\n"


def test_a_disabled_file_of_comfyui_is_left_out_of_a_copy(
    made: tuple[BuildPlan, Gathered], tmp_path: Path
) -> None:
    plan, gathered = made
    name = "websocket_image_save.py"
    path = gathered.comfyui / "custom_nodes" / name
    file = NodeFile(name=name, path=path, sha256="0" * 64, own=True, disabled=True)
    off = replace(gathered, nodes=replace(gathered.nodes, files=(file,)))
    with staged(plan, off, tmp_path, RESTORE) as found:
        assert listed(found.comfyui) == sorted(set(COMFYUI) - {f"custom_nodes/{name}"})
        assert path.is_file()
        told = json.loads((found.context / "nodes/restore.json").read_bytes())
        assert told["files"] == [{"name": name, "disabled": True, "own": True}]
    with staged(plan, gathered, tmp_path, RESTORE) as found:
        assert found.comfyui == gathered.comfyui


def test_two_builds_of_one_name_do_not_share_a_context(
    made: tuple[BuildPlan, Gathered], tmp_path: Path
) -> None:
    plan, gathered = made
    folder = tmp_path / ".kiln" / "context"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{plan.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with (
            pytest.raises(NotPossibleError) as caught,
            staged(plan, gathered, tmp_path, RESTORE),
        ):
            pass
    assert str(caught.value) == (
        f"another build of {plan.name} is running\n  → wait until it has ended"
    )
