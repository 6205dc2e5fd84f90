"""The judgement of restored nodes: what is on disk decides, not what comfy-cli says."""

from __future__ import annotations

import json
import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest

from comfykiln.restore.archives import unpack
from comfykiln.restore.judging import judge, judge_requirements
from comfykiln.restore.nodes import failure_of
from comfykiln.restore.plans import ArchiveNode, FileNode, GitNode, RestorePlan
from comfykiln.restore.running import StepError

if TYPE_CHECKING:
    from pathlib import Path

# What the host says of lines that comfy-cli cannot judge: the package that meets each, "" for none.
TOLD = {
    "git+ssh://git@kiln.invalid/thing.git@main": "thing",
    "gone==1 --hash=sha256:00": "gone",
    "numpy<2": "numpy",
    "tomli ; python_version < '3.11'": "",
    "\ufeffnumpy": "numpy",
}
AUTHOR = ("-c", "user.name=Test", "-c", "user.email=test@kiln.invalid")


def git(folder: Path, *words: str) -> str:
    argv = ["git", "-C", str(folder), *AUTHOR, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def plan(*nodes: GitNode, **further: object) -> RestorePlan:
    values = {
        "snapshot": None,
        "mirrors": (),
        "git": nodes,
        "archives": (),
        "files": (),
        "beside": None,
        "local": (),
        "accepted": frozenset({"dropped"}),
        "family": frozenset({"torch"}),
        "told": {"one": TOLD},
    }
    return RestorePlan(**{**values, **further})  # type: ignore[arg-type]  # values by name


def node(directory: str, commit: str, **further: object) -> GitNode:
    values = {"disabled": False, "submodules": {}, "lacking": (), "install": False}
    values |= {"copies": {}, "folders": ()}
    url = f"https://kiln.invalid/nodes/{directory}"
    return GitNode(
        url=url,
        commit=commit,
        directory=directory,
        **{**values, **further},  # type: ignore[arg-type]  # values by name
    )


@pytest.fixture
def custom_nodes(tmp_path: Path) -> Path:
    folder = tmp_path / "custom_nodes"
    work = folder / "one"
    work.mkdir(parents=True)
    git(work, "init", "-q")
    for text in ("pinned", "newer"):
        (work / "node.py").write_text(text, "utf-8")
        git(work, "add", "-A")
        git(work, "commit", "-q", "-m", text)
    return folder


def pin(custom_nodes: Path) -> str:
    return git(custom_nodes / "one", "rev-parse", "HEAD~1")


def test_a_node_at_its_pin_is_right(custom_nodes: Path) -> None:
    commit = pin(custom_nodes)
    git(custom_nodes / "one", "checkout", "-q", commit)
    judge(plan(node("one", commit)), set(), custom_nodes)


def test_a_tool_that_exits_0_and_leaves_the_head_is_caught(custom_nodes: Path) -> None:
    """What `comfy node restore-snapshot` does with ordinary repositories."""
    head = git(custom_nodes / "one", "rev-parse", "HEAD")
    commit = pin(custom_nodes)
    with pytest.raises(StepError, match=f"one: at {head}, pinned to {commit}"):
        judge(plan(node("one", commit)), set(), custom_nodes)


def test_a_tool_that_prints_success_and_installs_nothing_is_caught(custom_nodes: Path) -> None:
    assert failure_of(0, "[ INSTALLED ] two\n") == ""
    with pytest.raises(StepError, match=r"two: https://kiln\.invalid/nodes/two was not restored"):
        judge(plan(node("two", "0" * 40)), {"one"}, custom_nodes)


def test_changed_surplus_and_left_out_files_are_named(custom_nodes: Path) -> None:
    commit = pin(custom_nodes)
    git(custom_nodes / "one", "checkout", "-q", commit)
    (custom_nodes / "one" / "made.txt").touch()
    (custom_nodes / "surplus").mkdir()
    with pytest.raises(StepError) as error:
        judge(plan(node("one", commit, lacking=("a.bin",))), set(), custom_nodes)
    said = str(error.value)
    assert "one: changed after the checkout:\n?? made.txt" in said
    assert "one: other files are left out than the plan says: a.bin" in said
    assert "surplus: not in the snapshot, but on disk" in said


def test_single_files_are_there_or_out_of_sight(custom_nodes: Path, tmp_path: Path) -> None:
    beside = tmp_path / "files"
    beside.mkdir()
    for name in ("gone.py", "off.py"):
        (beside / name).write_text("VALUE = 1\n", "utf-8")
    (custom_nodes / "off.py").write_text("VALUE = 1\n", "utf-8")
    wanted = tuple(
        FileNode(name=name, disabled=off, own=False)
        for name, off in (("gone.py", False), ("off.py", True))
    )
    with pytest.raises(StepError) as error:
        judge(plan(files=wanted, beside=beside), {"one"}, custom_nodes)
    assert str(error.value).splitlines()[1:] == [
        "  gone.py: is not below custom_nodes as the snapshot has it",
        "  off.py: is not below custom_nodes as the snapshot has it",
        "  off.py: is disabled, but there to be imported",
        "  off.py: not in the snapshot, but on disk",
    ]


@pytest.fixture
def unpacked(tmp_path: Path) -> tuple[ArchiveNode, Path]:
    """A registry node as it was unpacked, and the folder of nodes."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("__init__.py", "VALUE = 1\n")
        made.writestr("web/a.js", "1\n")
    found = ArchiveNode(
        directory="shop",
        registry_id="shop",
        version="1.0",
        sha256="",
        archive=path,
        disabled=False,
        install=False,
        copies={},
        folders=(),
    )
    folder = tmp_path / "custom_nodes"
    folder.mkdir()
    unpack(found, folder / "shop")
    return found, folder


def test_an_unpacked_archive_is_right(unpacked: tuple[ArchiveNode, Path]) -> None:
    found, folder = unpacked
    judge(plan(archives=(found,)), set(), folder)
    assert (folder / "shop" / ".tracking").read_text("utf-8") == "__init__.py\nweb/a.js"
    assert found.parked == "shop@1_0"


def test_an_archive_that_was_tampered_with_is_named(unpacked: tuple[ArchiveNode, Path]) -> None:
    found, folder = unpacked
    (folder / "shop" / "__init__.py").write_text("VALUE = 2\n", "utf-8")
    (folder / "shop" / "web" / "a.js").unlink()
    (folder / "shop" / "more.py").write_text("", "utf-8")
    with pytest.raises(StepError) as error:
        judge(plan(archives=(found,)), set(), folder)
    assert str(error.value).splitlines()[1:] == [
        "  shop: __init__.py is not as in the archive",
        "  shop: web/a.js is not as in the archive",
        "  shop: more.py is not in the archive",
    ]


@pytest.mark.parametrize(
    ("status", "text", "fault"),
    [
        (0, "[ INSTALLED ] one\nInstallation failed for pip packages: []\n", ""),
        (0, "ERROR:root:[ComfyUI-Manager] PyTorch is not installed\n", ""),
        (0, "[  FAILED   ] one@9.9.9\n", "it printed '[  FAILED   ]'"),
        (0, "Execution error: 1\n", "it printed 'Execution error'"),
        (0, "Traceback (most recent call last):\n", "it printed 'Traceback'"),
        (1, "", "status 1"),
    ],
)
def test_the_signs_of_a_failed_run(status: int, text: str, fault: str) -> None:
    assert failure_of(status, text) == fault


def report(*lines: tuple[str, str, str]) -> str:
    rows = [
        {"raw": raw, "name": raw.split("<")[0], "status": status, "installed": have or None}
        for raw, status, have in lines
    ]
    data = {"packs": [{"pack": "one", "requirements": rows}]}
    return "a warning\n" + json.dumps({"data": data}) + "\n"


def test_requirements_of_nodes_are_satisfied_or_accepted() -> None:
    fine = [("numpy", "satisfied", "2.5.5"), ("torch", "missing", ""), ("dropped", "missing", "")]
    fine.append(("git+ssh://git@kiln.invalid/thing.git@main", "unparseable", ""))
    fine.append(("\ufeffnumpy", "unparseable", ""))
    fine.append(("tomli ; python_version < '3.11'", "missing", ""))
    judge_requirements(plan(), report(*fine), {"numpy", "thing"})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("git+https://kiln.invalid/other", "unparseable", ""), "is unparseable, found nothing"),
        (("gone==1 --hash=sha256:00", "unparseable", ""), "is unparseable, found nothing"),
        (("tomli", "missing", ""), "is missing, found nothing"),
        # The lock meets the line, but that is not what is on disk.
        (("numpy<2", "mismatch", "2.5.5"), "is mismatch, found 2.5.5"),
    ],
)
def test_a_requirement_that_is_not_met_is_named(line: tuple[str, str, str], said: str) -> None:
    with pytest.raises(StepError) as error:
        judge_requirements(plan(), report(line), {"numpy", "thing"})
    assert str(error.value) == f"nodes ask for what is not installed:\n  one: {line[0]} {said}"


def test_a_comfy_cli_that_reports_nothing_is_an_error() -> None:
    with pytest.raises(StepError, match="gave no report"):
        judge_requirements(plan(), "Traceback\n", set())
