"""The recipe for a new target, followed in a copy: one file by hand, then `./kiln render`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tests.support.machine import GOOD

from comfykiln.cli import run
from comfykiln.doctor.devices import Devices, find_nodes
from comfykiln.doctor.findings import unknown
from comfykiln.doctor.judge import judge
from comfykiln.doctor.needs import read_needs
from comfykiln.plan.project import Project
from comfykiln.system.files import sha256_file

ROOT = Path(__file__).parents[3]
NOT_COPIED = (
    ".git",
    ".venv",
    ".kiln",
    "dist",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    ".bench-*",
)
ENTRY = """
  npu:
    title: Ascend NPUs
    torch:
      versions: {torch: 2.13.0, torchvision: 0.28.0, torchaudio: 2.11.0}
      index: https://download.pytorch.org/whl/cpu
      local: cpu
      gigabytes: 0.9
    apt: []
    server: [--cpu]
    environment: {}
    accelerator:
      kind: other
      devices: [/dev/davinci0]
      groups: {HwHiAiUser: 1000}
"""
# The tests that hold something against each target there is.
TESTS = (
    "tests/unit/plan/test_targets.py",
    "tests/unit/plan/test_render.py",
    "tests/unit/plan/test_vendored.py",
    "tests/unit/plan/test_origins.py",
    "tests/unit/doctor",
    "tests/unit/cli/test_compose.py",
    "tests/unit/cli/test_run.py",
    "tests/unit/origins/test_torch.py",
    "tests/unit/locking/test_locking.py",
    "tests/unit/documents/test_pages.py",
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with the target npu, as whoever follows the recipe leaves it."""
    folder = tmp_path_factory.mktemp("recipe") / "kiln"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    before = digests(folder)
    with (folder / "images" / "targets.yaml").open("a", encoding="utf-8") as file:
        file.write(ENTRY)
    assert changed(before, folder) == ["images/targets.yaml"], "files by hand: 1"
    assert kiln(folder, "render").splitlines() == [
        "written: images/npu/complete/Dockerfile",
        "written: images/npu/core/Dockerfile",
        "written: images/docker-bake.json",
        "written: compose.yaml",
    ]
    return folder


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def changed(before: dict[str, str], folder: Path) -> list[str]:
    return sorted({name for name, _ in before.items() ^ digests(folder).items()})


def python(folder: Path, *words: str) -> str:
    """Run this Python on the copy's own sources."""
    environ = os.environ | {"PYTHONPATH": str(folder / "src"), "KILN_SETUP": "never"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kiln(folder: Path, *words: str) -> str:
    return python(folder, "-P", "-m", "comfykiln", "--search-root", str(folder), *words)


def test_nothing_has_drifted(copy: Path) -> None:
    assert kiln(copy, "render", "--check").endswith(" generated file(s) are as rendered\n")


def test_it_is_planned_and_no_other_plan_changes(copy: Path) -> None:
    plan = json.loads(kiln(copy, "plan", "--target", "npu", "--image", "core", "--json"))
    cpu = Project(root=ROOT).plan("cpu", "core").as_json()
    assert plan == cpu | {"target": "npu", "ref": cpu["ref"].replace(":cpu-", ":npu-")}
    for target in Project(root=ROOT).targets.by_name:
        mine, theirs = (Project(root=root).plan(target, "core") for root in (copy, ROOT))
        assert mine.as_json() == theirs.as_json()


def test_doctor_does_not_call_ok_what_it_cannot_judge(copy: Path) -> None:
    needs = read_needs(copy)
    lacking = judge(GOOD, needs)["run.npu"]
    assert (lacking.state, lacking.text) == ("missing", "this machine has no /dev/davinci0")
    (null,) = find_nodes("/dev/null")
    there = Devices(nodes={"/dev/davinci0": (null,)}, groups={"HwHiAiUser": 1001})
    assert judge(replace(GOOD, devices=there), needs)["run.npu"] == unknown(
        "run.npu",
        (
            "/dev/null (groups HwHiAiUser=1001), but whether its driver serves the image only a "
            "run tells"
        ),
    )


def test_run_and_compose_give_it_the_same(copy: Path) -> None:
    target = Project(root=copy).targets.get("npu")
    argv = run.command(target, "comfykiln/core:npu", port=8188, models=None)
    assert argv[-2:] == ["--device=/dev/davinci0", "comfykiln/core:npu"]
    text = (copy / "compose.yaml").read_text("utf-8")
    service = yaml.safe_load(text)["services"]["npu"]
    assert service["profiles"] == ["npu"]
    assert service["devices"] == ["/dev/davinci0"]
    assert service["group_add"] == ["${HWHIAIUSER_GID:-1000}"]
    said = "# HWHIAIUSER_GID                who owns /dev/davinci0: stat -c %g /dev/davinci0\n"
    assert said in text


def test_the_copys_own_tests_pass(copy: Path) -> None:
    said = python(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS)
    assert " passed" in said
